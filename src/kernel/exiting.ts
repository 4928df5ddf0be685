/** Whether a process has ended, and whether one that exits is still closing its files; from /proc. */
import { readdirSync } from 'node:fs';
import { fieldsOf, hasHostPids, isSameProcess, mayBeHidden, said, unlessGone } from './proc.ts';

/** include/linux/sched.h: its threads have it before the first file is closed. */
const PF_EXITING = 0x4;
/** Of the fields behind the name in /proc/PID/task/TID/stat: state, and flags. */
const STATE = 0;
const FLAGS = 6;

/**
 * Whether all threads of a process exit and one of them has not finished. Files are closed before
 * that, by whichever thread comes last, and do not show in /proc/PID/fd meanwhile.
 * @returns undefined where that is not to be seen
 */
export function isExiting(pid: number, proc = '/proc'): boolean | undefined {
  try {
    if (!hasHostPids(proc)) return undefined;
    const threads = unlessGone(() => readdirSync(`${proc}/${pid}/task`), [])
      .map((tid) => fieldsOf(said(`${proc}/${pid}/task/${tid}/stat`)))
      .filter((fields) => fields.length > FLAGS);
    const isEach = threads.every((fields) => (Number(fields[FLAGS]) & PF_EXITING) !== 0);
    // A thread that has finished is a zombie, or dead.
    return isEach && threads.some((fields) => !/[ZX]/.test(fields[STATE]));
  } catch {
    return undefined;
  }
}

/**
 * Whether the process that had an id at some time still runs or exits.
 * @param at ns on the boot-time clock
 * @returns undefined where that is not to be seen
 */
export function isAlive(pid: number, at: number, proc = '/proc'): boolean | undefined {
  if (mayBeHidden(proc)) return undefined;
  const directory = `${proc}/${pid}`;
  if (!isSameProcess(directory, at)) return false;
  const [state] = fieldsOf(said(`${directory}/stat`));
  // The first thread of a process may end before the others.
  return !/[ZX]/.test(state) || hasLivingThread(directory);
}

function hasLivingThread(directory: string): boolean {
  return unlessGone(() => readdirSync(`${directory}/task`), []).some((tid) => {
    const [state] = fieldsOf(said(`${directory}/task/${tid}/stat`));
    return state !== '' && !/[ZX]/.test(state);
  });
}
