/**
 * Reads sysfs and debugfs, where anything may vanish while it is read. What no longer exists
 * reads as nothing; what cannot be read is a UserProblem.
 *
 * Looks are synchronous: they run no driver's code, and take a few µs against hundreds on
 * libuv's threads. Loops over them call a pacer.
 */

import { lstatSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { codeOf } from '../errors.ts';
import { UserProblem } from '../problem.ts';

/** What the kernel answers about an object that is not there any more. */
const GONE = new Set(['ENOENT', 'ENODEV', 'ESRCH', 'ENXIO']);

/** How long a loop may keep the event loop, ms. */
const TURN = 2;

/** How long a driver may take to answer, ms. */
const ANSWER = 1000;

/** Files whose drivers have not answered yet. Each keeps one of libuv's few threads. */
const unanswered = new Set<string>();

/** The names in a directory; undefined when there is no such directory. */
export function list(directory: string): readonly string[] | undefined {
  return unlessGone(directory, () => readdirSync(directory));
}

/** Where a link leads; undefined when there is no such link. */
export function target(link: string): string | undefined {
  return unlessGone(link, () => readlinkSync(link));
}

/** The name of what a link leads to; empty when there is no such link. */
export function targetName(link: string): string {
  return basename(target(link) ?? '');
}

export function exists(path: string): boolean {
  return unlessGone(path, () => lstatSync(path, { throwIfNoEntry: false })) !== undefined;
}

/** The inode number of what a path leads to, 0 when there is nothing. */
export function inode(path: string): number {
  return unlessGone(path, () => statSync(path, { throwIfNoEntry: false }))?.ino ?? 0;
}

/** What a file says, without the end of line; undefined when there is no such file. */
export function text(file: string): string | undefined {
  return unlessGone(file, () => readFileSync(file, 'utf8').trimEnd());
}

/**
 * What a driver says in a file of its own. It may take locks that others hold, even for
 * ever: no answer in time is none, and the file is not asked again before it came.
 */
export async function answer(file: string, within = ANSWER): Promise<string | undefined> {
  if (unanswered.has(file)) return undefined;
  unanswered.add(file);
  const reading = readFile(file, 'utf8')
    .then((said) => said.trimEnd(), unlessDenied(file))
    .finally(() => unanswered.delete(file));
  return Promise.race([reading, setTimeout(within, undefined, { ref: false })]);
}

/** Whether a driver that was asked has not answered yet. */
export function isUnanswered(file: string): boolean {
  return unanswered.has(file);
}

/** @returns to be awaited once in each round of a loop: gives others a turn when one is due */
export function pacer(turn = TURN): () => Promise<void> | undefined {
  let since = performance.now();
  return () => {
    if (performance.now() - since < turn) return undefined;
    return setImmediate().then(() => {
      since = performance.now();
    });
  };
}

/** @throws UserProblem when there is no sysfs, where everything would seem not to be there */
export function requireSysfs(root: string): void {
  if (exists(`${root}/sys/class`)) return;
  throw new UserProblem(
    'host.no-sysfs',
    `${root}/sys is not a sysfs: /sys/class is missing`,
    "mount it (mount -t sysfs sysfs /sys); in a container, give it the host's /sys",
  );
}

function unlessGone<T>(path: string, snapshot: () => T): T | undefined {
  try {
    return snapshot();
  } catch (error) {
    if (GONE.has(codeOf(error))) return undefined;
    throw unreadable(path, error);
  }
}

/** A driver answers with any error that it likes; only a denial comes from elsewhere. */
function unlessDenied(path: string): (error: unknown) => undefined {
  return (error) => {
    const code = codeOf(error);
    if (code === 'EACCES' || code === 'EPERM') throw unreadable(path, error);
    return undefined;
  };
}

function unreadable(path: string, cause: unknown): UserProblem {
  return new UserProblem(
    'host.sysfs-unreadable',
    `cannot read ${path} (${codeOf(cause)})`,
    'run vfioscope as root, and let its container or security module read /sys',
    { cause },
  );
}
