// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { messageOf } from '../../src/errors.ts';
import { missingTool } from './command.ts';
import { errorCode, LabError } from './errors.ts';

/** How tools spell ENOSPC. */
const DISK_FULL = 'No space left on device';
const SPACE = '1 GB';

/** Where the lab keeps kernels and programs it built: outside git, safe to delete at any time. */
export function cacheDirectory(): string {
  const base = process.env.XDG_CACHE_HOME ?? '';
  return path.join(
    path.isAbsolute(base) ? base : path.join(homedir(), '.cache'),
    'vfioscope',
    'lab',
  );
}

/** Whether something exists at this path. */
export async function exists(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch {
    return false;
  }
}

/**
 * Returns `target`, a file or directory of the cache, building it first when it is missing.
 * `build` fills a fresh directory and returns the path in it to publish; the target appears
 * complete or not at all, and of several processes only one builds.
 */
export async function cached(
  target: string,
  build: (scratch: string) => Promise<string>,
): Promise<{ target: string; built: boolean }> {
  if (await exists(target)) {
    return { target, built: false };
  }
  await mkdir(path.dirname(target), { recursive: true });
  const unlock = await lock(`${target}.lock`);
  try {
    if (await exists(target)) {
      return { target, built: false };
    }
    // Beside the target, because rename works only within one file system.
    const scratch = await mkdtemp(`${target}.new-`);
    try {
      await rename(await build(scratch), target);
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
    return { target, built: true };
  } catch (error) {
    if (messageOf(error).includes(DISK_FULL) || errorCode(error) === 'ENOSPC') {
      throw new LabError(
        `the disk is full; a kernel takes ${SPACE} while it is prepared: ${target}`,
      );
    }
    throw error;
  } finally {
    await unlock();
  }
}

/** Takes a lock that the kernel releases when this process ends, however it ends. */
async function lock(file: string): Promise<() => Promise<void>> {
  const holder = spawn('flock', [file, 'sh', '-c', 'echo locked; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(holder, 'close');
  try {
    await Promise.race([once(holder.stdout, 'data'), exited]);
  } catch (error) {
    throw errorCode(error) === 'ENOENT' ? missingTool('flock') : error;
  }
  return async () => {
    holder.stdin.end();
    await exited;
  };
}
