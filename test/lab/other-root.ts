// SPDX-License-Identifier: Apache-2.0
/**
 * Programs of another Debian release, in a root directory of their own: for what those of this machine are too
 * old for, such as a QEMU that opens devices by their cdevs.
 */
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { Apt, unpackPackage } from './apt.ts';
import { cacheDirectory, cached } from './cache.ts';
import { linkMerged } from './tool-root.ts';
import type { Vm } from './vm.ts';

/** Shared with the VM, so that a program sees its devices and processes. */
const SHARED = ['dev', 'proc', 'sys'];

/**
 * The root directory with these packages and all that they depend on, unpacked and not set up. It takes the newest
 * packages when it is first made.
 */
async function prepareRoot(
  suite: string,
  packages: readonly string[],
  signal?: AbortSignal,
): Promise<string> {
  const hash = createHash('sha256')
    .update(JSON.stringify([suite, packages]))
    .digest('hex');
  const place = path.join(cacheDirectory(), 'roots', `${suite}-${hash.slice(0, 8)}`);
  const { target } = await cached(place, async (scratch) => {
    const apt = await Apt.open([suite], signal);
    const all = await apt.withDependencies(packages);
    await apt.download(all, scratch);
    const root = path.join(scratch, 'root');
    for (const name of all) await unpackPackage(name, scratch, root, signal);
    await linkMerged(root);
    for (const name of [...SHARED, 'tmp']) await mkdir(path.join(root, name), { recursive: true });
    return root;
  });
  return target;
}

/**
 * Makes programs of another release usable in a VM.
 * @returns the words before the command line of such a program
 */
export async function programsOf(
  vm: Vm,
  suite: string,
  packages: readonly string[],
): Promise<readonly string[]> {
  const root = await prepareRoot(suite, packages);
  for (const name of SHARED) await vm.sh(`mount --rbind /${name} ${root}/${name}`);
  return ['chroot', root];
}
