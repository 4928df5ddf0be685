/** Reads /proc, where a process may end while it is read. */
import { type Dir, existsSync, opendirSync, readFileSync, readlinkSync } from 'node:fs';
import { plain } from '../plain.ts';

/** include/linux/proc_ns.h: the inode of the first pid namespace, in which every process shows. */
const INITIAL_PID_NAMESPACE = 'pid:[4026531836]';

/** Whether process ids here are those of events. @throws when there is no /proc */
export function hasHostPids(proc: string): boolean {
  return readlinkSync(`${proc}/self/ns/pid`) === INITIAL_PID_NAMESPACE;
}

/** Whether /proc hides the processes of others, as with hidepid: the first one there always is. */
export function hidesProcesses(proc: string): boolean {
  return !existsSync(`${proc}/1`);
}

/**
 * Whether processes here are not those of events, or those of others do not show, so that one that is not there
 * may live all the same.
 */
export function mayBeHidden(proc: string): boolean {
  try {
    return !hasHostPids(proc) || hidesProcesses(proc);
  } catch {
    return true;
  }
}

/** @returns what stands in for what is gone @throws when it exists and cannot be read */
export function unlessGone<T>(snapshot: () => T, gone: T): T {
  try {
    return snapshot();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return gone;
    throw error;
  }
}

/** How many names are read from a directory at once. */
const NAMES = 256;

/**
 * The names in a directory, a few at a time: a process may have a million descriptors, and the kernel
 * makes an entry for each. None when it is gone. @throws when it exists and cannot be read
 */
export function* namesIn(directory: string): Generator<string> {
  const open = unlessGone<Dir | undefined>(
    () => opendirSync(directory, { bufferSize: NAMES }),
    undefined,
  );
  if (!open) return;
  try {
    for (;;) {
      const entry = unlessGone(() => open.readSync(), null);
      if (!entry) return;
      yield entry.name;
    }
  } finally {
    open.closeSync();
  }
}

/** The ids of all processes. @throws when they cannot be read */
export function* pidsIn(proc: string): Generator<number> {
  for (const name of namesIn(proc)) {
    const pid = Number(name);
    if (Number.isInteger(pid)) yield pid;
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

/** The name and the user of a task. @param status as /proc/TID/status has it */
export function identityOf(status: string): { comm: string; uid: number } {
  return {
    comm: plain(field(status, 'Name') ?? ''),
    uid: Number.parseInt(field(status, 'Uid') ?? '-1', 10),
  };
}

/** How many clock ticks make a second, in all of /proc: include/uapi/asm-generic/param.h. */
const TICK = 1e9 / 100;
/** Of the fields behind the name in /proc/PID/stat. */
const START_TIME = 19;

/** The fields of /proc/PID/stat behind the name, which may have spaces and brackets in it. */
export function fieldsOf(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** When a process was started, ns on the boot-time clock, at most 10 ms too early; undefined when it is gone. */
export function startedAt(directory: string): number | undefined {
  const ticks = Number(fieldsOf(said(`${directory}/stat`))[START_TIME]);
  return Number.isInteger(ticks) ? ticks * TICK : undefined;
}

/** Whether the process with an id is the one that had it at some time, ns on the boot-time clock. */
export function isSameProcess(directory: string, at: number): boolean {
  const started = startedAt(directory);
  return started !== undefined && started <= at;
}

/** The name of a process; undefined when it is gone, or process ids here are not those of events. */
export function processName(pid: number, proc = '/proc'): string | undefined {
  try {
    if (!hasHostPids(proc)) return undefined;
  } catch {
    return undefined;
  }
  return plain(said(`${proc}/${pid}/comm`)) || undefined;
}
