/** Looking at /proc, where a process may end while it is looked at. */
import { readFileSync, readlinkSync } from 'node:fs';

/** include/linux/proc_ns.h: the inode of the first pid namespace, in which every process shows. */
const INITIAL_PID_NAMESPACE = 'pid:[4026531836]';

/** Whether process ids here are those of events. @throws when there is no /proc */
export function hasHostPids(proc: string): boolean {
  return readlinkSync(`${proc}/self/ns/pid`) === INITIAL_PID_NAMESPACE;
}

/** @returns what stands in for what is gone @throws when it is there and not to be seen */
export function unlessGone<T>(look: () => T, gone: T): T {
  try {
    return look();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return gone;
    throw error;
  }
}

/** A file of /proc; empty when it is gone or must not be read. */
export function said(file: string): string {
  try {
    return readFileSync(file, 'utf8').trimEnd();
  } catch {
    return '';
  }
}

/** A line of /proc/PID/status, without its name. */
export function field(status: string, name: string): string | undefined {
  return new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1];
}
