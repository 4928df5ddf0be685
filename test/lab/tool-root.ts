// SPDX-License-Identifier: Apache-2.0
// A directory with the compiler and the tools of another Debian release, to build drivers in when
// those of this machine do not do: the programs in a kernel's headers need the libc of its release.
import { glob, mkdir, rm, symlink } from 'node:fs/promises';
import path from 'node:path';

import { exists } from './cache.ts';
import { command } from './command.ts';

/** Where the directory with a driver's sources is mounted, as seen from inside. */
export const SOURCES = '/sources';

/** Links that no package brings: in Debian they are made when a system is set up. */
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];
/** A third of the disk space, and no part of building a driver. */
const UNUSED = [
  'usr/share',
  'usr/bin/*lto-dump*',
  'usr/libexec/gcc/*/*/lto1',
  'usr/lib/*/lib{asan,hwasan,lsan,tsan}.so*',
];
const MOUNT_POINTS = ['dev', 'proc', 'tmp', SOURCES];

// objtool reads /proc, and everything reads /dev/null. The mounts end with the command.
const ENTER = `
set -e
root=$1 sources=$2
shift 2
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount --bind "$sources" "$root${SOURCES}"
exec env --ignore-environment PATH=/usr/bin:/usr/sbin LC_ALL=C chroot "$root" "$@"
`;

/** Makes the links that packages of all releases expect in a root directory. */
export async function linkMerged(root: string): Promise<void> {
  for (const name of MERGED) {
    if (!(await exists(path.join(root, name)))) {
      await symlink(`usr/${name}`, path.join(root, name));
    }
  }
}

/** Makes a directory that packages were unpacked into usable as a root directory. */
export async function furnishToolRoot(root: string, signal?: AbortSignal): Promise<void> {
  for await (const name of glob(UNUSED, { cwd: root })) {
    await rm(path.join(root, name), { recursive: true });
  }
  await linkMerged(root);
  for (const name of MOUNT_POINTS) {
    await mkdir(path.join(root, name), { recursive: true });
  }
  const install = ['busybox', '--install', '-s', '/usr/bin'];
  const [tool = '', ...args] = inToolRoot(root, root, install);
  // programs: unshare
  await command(tool, args, { signal });
}

/** The command line that runs a command in such a directory, with `sources` mounted at SOURCES. */
export function inToolRoot(root: string, sources: string, words: readonly string[]): string[] {
  const user = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  const namespace = ['unshare', '--mount', '--propagation', 'private', ...user];
  return [...namespace, 'sh', '-c', ENTER, 'sh', root, sources, ...words];
}
