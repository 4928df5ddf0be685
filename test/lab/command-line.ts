// SPDX-License-Identifier: Apache-2.0
import path from 'node:path';

import { cacheDirectory } from './cache.ts';
import type { PreparedKernel } from './prepare.ts';

const REPOSITORY = path.resolve(import.meta.dirname, '../..');
/** Directories of which the VM has its own; what the lab needs of the host's is bound into them. */
const OWN_DIRECTORIES = ['/tmp', '/run', '/dev'];

/** The options of a VM that concern its kernel. */
export interface BootOptions {
  preempt?: string | undefined;
  append?: readonly string[] | undefined;
  share?: string | undefined;
}

/** The kernel's command line; init.sh finds the LAB_* variables in its environment. */
export function kernelCommandLine(
  options: BootOptions,
  kernel: Pick<PreparedKernel, 'release' | 'modules' | 'append'>,
): string[] {
  const inOwn = (file: string) =>
    OWN_DIRECTORIES.some((directory) => file.startsWith(`${directory}/`));
  const needed = [
    REPOSITORY,
    cacheDirectory(),
    process.cwd(),
    path.dirname(process.execPath),
  ].filter(inOwn);
  const variables = {
    LAB_RELEASE: kernel.release,
    LAB_MODULES: kernel.modules,
    LAB_KEEP: needed.join(':'),
    LAB_SHARE: options.share === undefined ? '' : path.resolve(options.share),
  };
  return [
    // The whole log comes through the runner; the slow serial line is for the output of a panic.
    'console=ttyS0',
    'quiet',
    'panic=-1',
    // Whether the timer works is tested by counting its ticks, of which an emulator on a busy machine
    // may deliver too few: the kernel then panics ("IO-APIC + timer doesn't work!").
    'no_timer_check',
    ...(options.preempt === undefined ? [] : [`preempt=${options.preempt}`]),
    ...kernel.append,
    ...(options.append ?? []),
    ...Object.entries(variables)
      .filter(([, value]) => value !== '')
      .map(([name, value]) => `"${name}=${value}"`),
  ];
}
