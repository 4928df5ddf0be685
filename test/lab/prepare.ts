// SPDX-License-Identifier: Apache-2.0
import { readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';

import { cacheDirectory, cached, exists } from './cache.ts';
import { KernelFetch, type KernelRecord } from './fetch.ts';
import { findBuildDirectory } from './headers.ts';
import { buildIommufd, iommufdHash } from './iommufd.ts';
import { chooseKernel, readMatrix, recipeHash } from './kernels.ts';

/** A kernel in the cache, ready to boot. */
export interface PreparedKernel extends KernelRecord {
  id: string;
  directory: string;
  /** ELF file, with BTF. */
  image: string;
  /** Becomes /lib/modules/RELEASE in the VM. */
  modules: string;
  /** KDIR for building modules against this kernel, if the matrix says how. */
  headers: string | undefined;
  makeArguments: readonly string[];
  toolRoot: string | undefined;
  append: readonly string[];
  /** Whether it was in the cache already. */
  fromCache: boolean;
}

/** Makes a kernel of the matrix available: downloads and unpacks Debian's packages, builds the sample drivers. */
export async function prepareKernel(id: string, signal?: AbortSignal): Promise<PreparedKernel> {
  const { row, hasIommufd } = chooseKernel(readMatrix(), id);
  const kernel = await prepareRow(row, signal);
  return hasIommufd ? withIommufd(kernel, id, signal) : kernel;
}

async function prepareRow(id: string, signal?: AbortSignal): Promise<PreparedKernel> {
  const matrix = readMatrix();
  const { entry } = chooseKernel(matrix, id);
  const place = path.join(kernelsDirectory(), `${id}-${recipeHash(matrix, entry)}`);
  const { target, built } = await cached(place, (scratch) =>
    new KernelFetch(id, matrix, scratch, signal).fetch(),
  );
  const headers = path.join(target, 'headers');
  const record = await readFile(path.join(target, 'kernel.json'), 'utf8');
  return {
    ...(JSON.parse(record) as KernelRecord),
    id,
    directory: target,
    image: path.join(target, 'vmlinux'),
    modules: path.join(target, 'modules'),
    headers: entry.build && (await findBuildDirectory(headers)),
    makeArguments: entry.build?.makeArguments ?? [],
    toolRoot: entry.build?.toolPackages && headers,
    append: entry.append,
    fromCache: !built,
  };
}

/** The same kernel with other modules, which are built when they are first needed. */
async function withIommufd(
  kernel: PreparedKernel,
  id: string,
  signal?: AbortSignal,
): Promise<PreparedKernel> {
  const place = path.join(kernelsDirectory(), `${id}-${iommufdHash(kernel)}`);
  const { target, built } = await cached(place, (scratch) => buildIommufd(kernel, scratch, signal));
  return { ...kernel, id, modules: target, fromCache: !built };
}

/** Forgets what is cached of a kernel, so that the next preparation takes the newest package. */
export async function forgetKernel(id: string): Promise<void> {
  const { row } = chooseKernel(readMatrix(), id);
  const all = kernelsDirectory();
  const names = (await exists(all)) ? await readdir(all) : [];
  // A lock may be held right now; taking it away would let two processes prepare at once.
  const own = names.filter((name) => name.startsWith(`${row}-`) && !name.endsWith('.lock'));
  for (const name of own) {
    await rm(path.join(all, name), { recursive: true, force: true });
  }
}

function kernelsDirectory(): string {
  return path.join(cacheDirectory(), 'kernels');
}
