// SPDX-License-Identifier: Apache-2.0
import { copyFile, mkdir, readdir, readFile, rename } from 'node:fs/promises';
import path from 'node:path';

import { command } from './command.ts';
import { LabError } from './errors.ts';

/** Where the modules of one kernel are: module name to file. */
export type ModuleFiles = ReadonlyMap<string, string>;

/** Module names treat '-' and '_' alike; the kernel itself uses '_'. */
export function moduleName(file: string): string {
  return path
    .basename(file)
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_');
}

/** Finds all modules under a lib/modules/RELEASE directory. */
export async function findModules(directory: string): Promise<ModuleFiles> {
  const files = await readdir(directory, { recursive: true });
  const modules = files.filter((file) => /\.ko(\.\w+)?$/.test(file));
  return new Map(modules.map((file) => [moduleName(file), path.join(directory, file)]));
}

/** The modules linked into the kernel image, from modules.builtin. */
export async function builtinModules(directory: string): Promise<ReadonlySet<string>> {
  const list = await readFile(path.join(directory, 'modules.builtin'), 'utf8');
  return new Set(
    list
      .split('\n')
      .filter((line) => line !== '')
      .map(moduleName),
  );
}

/** The wanted modules and all that they need, each after what it depends on. Unknown names are left out. */
export async function withDependencies(
  wanted: readonly string[],
  files: ModuleFiles,
  signal?: AbortSignal,
): Promise<string[]> {
  const ordered = new Set<string>();
  const visit = async (name: string): Promise<void> => {
    const file = files.get(name);
    if (file === undefined || ordered.has(name)) {
      return;
    }
    const depends = (await command('modinfo', ['--field', 'depends', file], { signal })).trim();
    for (const dependency of depends.split(',').filter((part) => part !== '')) {
      await visit(moduleName(dependency));
    }
    ordered.add(name);
  };
  for (const name of wanted) {
    await visit(moduleName(name));
  }
  return [...ordered];
}

/** Copies modules into `target`, decompressed: the VM's emulated CPU would take longer to do it. */
export async function copyModules(
  names: readonly string[],
  files: ModuleFiles,
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  await mkdir(target, { recursive: true });
  for (const name of names) {
    const file = files.get(name);
    if (file === undefined) {
      throw new LabError(`module ${name} is not in the kernel's package`);
    }
    const copy = path.join(
      target,
      `${name}${file.slice(file.indexOf('.ko', file.lastIndexOf('/')))}`,
    );
    await copyFile(file, copy);
    if (copy.endsWith('.ko.xz')) {
      await command('xz', ['--decompress', copy], { signal });
    } else if (!copy.endsWith('.ko')) {
      throw new LabError(`the lab cannot decompress ${path.basename(file)}, only .ko.xz`);
    }
  }
}

/**
 * Lets modprobe find what is in `modules`. depmod insists on the layout lib/modules/RELEASE, for which the
 * directory is moved into `scratch` meanwhile.
 */
export async function indexModules(
  modules: string,
  release: string,
  scratch: string,
  signal?: AbortSignal,
): Promise<void> {
  const base = path.join(scratch, 'depmod');
  const staged = path.join(base, 'lib', 'modules', release);
  await mkdir(path.dirname(staged), { recursive: true });
  await rename(modules, staged);
  await command('depmod', ['--basedir', base, release], { signal });
  await rename(staged, modules);
}
