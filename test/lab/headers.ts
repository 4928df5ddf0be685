// SPDX-License-Identifier: Apache-2.0
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { LabError } from './errors.ts';

/** Makes unpacked header packages usable where they are: Debian's refer to each other by /usr/src. */
export async function relocateHeaders(headers: string): Promise<void> {
  const makefile = path.join(await findBuildDirectory(headers), 'Makefile');
  await writeFile(makefile, relocatedMakefile(await readFile(makefile, 'utf8')));
}

/** Replaces the installed place by one relative to the Makefile itself. */
export function relocatedMakefile(text: string): string {
  return text.replace(/^include \/usr\/src\//m, 'include $(dir $(lastword $(MAKEFILE_LIST)))../');
}

/** The directory to build modules in. Of Debian's two, -common and -amd64, only the latter has a .config. */
export async function findBuildDirectory(headers: string): Promise<string> {
  const sources = path.join(headers, 'usr', 'src');
  for (const name of await readdir(sources)) {
    if ((await readdir(path.join(sources, name))).includes('.config')) {
      return path.join(sources, name);
    }
  }
  throw new LabError(`no kernel headers with a .config under ${sources}`);
}
