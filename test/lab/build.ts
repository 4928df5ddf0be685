// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { cacheDirectory, cached } from './cache.ts';
import { command } from './command.ts';
import { LabError } from './errors.ts';
import { inToolRoot, SOURCES } from './tool-root.ts';

const WARNINGS = ['-Wall', '-Wextra', '-Werror'];
/** The lab's own programs, and the directories of sources that each is made of. */
const PROGRAMS = { runner: ['runner'], storm: ['storm', 'vfio'], vmm: ['vmm', 'vfio'] };

/** What the build of a module needs to know of a kernel; a PreparedKernel has it. */
export interface BuildTarget {
  headers: string | undefined;
  makeArguments: readonly string[];
  /** The directory with the tools of the kernel's release, if those of this machine cannot build for it. */
  toolRoot: string | undefined;
}

/** Builds modules out of tree in `sources`, which gets a Makefile, and returns the .ko files. */
export async function makeModules(
  target: BuildTarget,
  sources: string,
  modules: readonly string[],
  signal?: AbortSignal,
): Promise<string[]> {
  const objects = modules.map((name) => `${name}.o`).join(' ');
  await writeFile(path.join(sources, 'Makefile'), `obj-m := ${objects}\n`);
  await makeAll(target, sources, signal);
  return modules.map((name) => path.join(sources, `${name}.ko`));
}

/** Builds out of tree what the Makefile or the Kbuild file in `sources` names. */
export async function makeAll(
  { headers, makeArguments, toolRoot }: BuildTarget,
  sources: string,
  signal?: AbortSignal,
): Promise<void> {
  if (headers === undefined) {
    throw new LabError('test/lab/kernels.json does not say how to build drivers for this kernel');
  }
  const make = (from: string, place: string) => {
    return ['make', '--silent', '-C', from, `M=${place}`, ...makeArguments, 'modules'];
  };
  const [tool = '', ...args] =
    toolRoot === undefined
      ? make(headers, sources)
      : inToolRoot(toolRoot, sources, make(`/${path.relative(toolRoot, headers)}`, SOURCES));
  // programs: make, unshare
  await command(tool, args, { signal });
}

/**
 * Builds kernel modules from a directory of sources, which stays as it is, and returns the
 * directory with the .ko files. Unchanged sources are not built again.
 */
export async function buildDrivers(
  kernel: BuildTarget & { release: string },
  sources: string,
  modules: readonly string[],
  signal?: AbortSignal,
): Promise<string> {
  const hash = await hashOfSources([sources], [kernel.headers ?? '', ...modules]);
  const place = path.join(cacheDirectory(), 'drivers', `${kernel.release}-${hash}`);
  const { target } = await cached(place, async (scratch) => {
    const copy = path.join(scratch, 'sources');
    const output = path.join(scratch, 'modules');
    await cp(sources, copy, { recursive: true });
    await mkdir(output);
    for (const file of await makeModules(kernel, copy, modules, signal)) {
      await rename(file, path.join(output, path.basename(file)));
    }
    return output;
  });
  return target;
}

/** Compiles the lab's own programs, statically, and returns the directory they are in. */
export async function buildPrograms(signal?: AbortSignal): Promise<string> {
  const inLab = (name: string) => path.join(import.meta.dirname, name);
  const directories = [...new Set(Object.values(PROGRAMS).flat())].map(inLab);
  const hash = await hashOfSources(directories, WARNINGS);
  const place = path.join(cacheDirectory(), 'programs', hash);
  const { target } = await cached(place, async (scratch) => {
    const output = path.join(scratch, 'bin');
    await mkdir(output);
    for (const [name, parts] of Object.entries(PROGRAMS)) {
      const files = await Promise.all(parts.map((part) => sourceFiles(inLab(part))));
      const sources = files.flat().filter((file) => file.endsWith('.c'));
      const flags = ['-O2', '-static', '-D_GNU_SOURCE', `-I${import.meta.dirname}`, ...WARNINGS];
      await command('gcc', [...flags, '-o', path.join(output, name), ...sources], { signal });
    }
    return output;
  });
  return target;
}

async function sourceFiles(directory: string): Promise<string[]> {
  const names = (await readdir(directory)).filter((name) => /\.[ch]$/.test(name));
  return names.sort().map((name) => path.join(directory, name));
}

// By content, not by time: git sets the time of a file to that of the checkout.
async function hashOfSources(
  directories: readonly string[],
  more: readonly string[],
): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(more));
  for (const directory of directories) {
    for (const file of await sourceFiles(directory)) {
      hash.update(file).update(await readFile(file));
    }
  }
  return hash.digest('hex').slice(0, 12);
}
