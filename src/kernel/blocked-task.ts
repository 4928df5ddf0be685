/** What a task waits for inside the kernel, from /proc. */

import type { BlockedTask } from '../events/host.ts';
import type { Task } from '../events/task.ts';
import { plain } from '../plain.ts';
import { field, fieldsOf, hasHostPids, namesIn, said } from './proc.ts';
import { sleepers } from './sleepers.ts';

/** More than any wait of mdev, VFIO or KVM has below its system call. */
const FRAMES = 32;

/** Since 4.14 the kernel shows "[<0>]"; whatever else looks like an address is not passed on. */
const POINTER = /^\[<[^>]*>\]\s*/;
const ADDRESS = /\b(?:0x)?[0-9a-f]{8,}\b/gi;

type Ids = Pick<Task, 'pid' | 'tid'>;

/**
 * The stack is read from the second call on, of a thread that has slept on since, see sleepers.ts.
 * @returns undefined when the task has ended, or its id is another's, or it cannot be read
 */
export function blockedTask(ids: Ids, proc = '/proc'): BlockedTask | undefined {
  try {
    if (!hasHostPids(proc)) return undefined;
  } catch {
    return undefined;
  }
  const status = said(`${proc}/${ids.tid}/status`);
  const task = withoutStack(ids, status, proc);
  if (!task || !sleepers.hasSlept(ids.tid, status)) return task;
  return withStack(task, said(`${proc}/${ids.tid}/stack`));
}

/** What a task waits for, without its stack. @param status of the task, as /proc/TID/status has it */
export function withoutStack(
  { pid, tid }: Ids,
  status: string,
  proc: string,
): BlockedTask | undefined {
  const state = field(status, 'State');
  if (state === undefined || field(status, 'Tgid') !== `${pid}`) return undefined;
  const wchan = said(`${proc}/${tid}/wchan`);
  return { state, ...(wchan === '' || wchan === '0' ? {} : { wchan: plain(wchan) }) };
}

/** @param text as /proc/TID/stack has it */
export function withStack(task: BlockedTask, text: string): BlockedTask {
  const stack = framesOf(text);
  return stack.length > 0 ? { ...task, stack } : task;
}

/** More threads of a process are not looked at: a VMM has one for each vcpu. */
const MOST_THREADS = 256;

/** What the first thread of a process waits for that no signal wakes; undefined when there is none. */
export function stuckThread(pid: number, proc = '/proc'): BlockedTask | undefined {
  const threads = namesIn(`${proc}/${pid}/task`);
  try {
    let count = 0;
    for (const tid of threads) {
      if (++count > MOST_THREADS) return undefined;
      const [state] = fieldsOf(said(`${proc}/${pid}/task/${tid}/stat`));
      if (state !== 'D') continue;
      const task = blockedTask({ pid, tid: Number(tid) }, proc);
      // It may have been woken since.
      if (task?.state.startsWith('D')) return task;
    }
  } catch {
    // A process of which nothing can be read is not said to be stuck.
  }
  return undefined;
}

/** @param text as /proc/TID/stack has it: empty without CAP_SYS_ADMIN */
export function framesOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => plain(line.replace(POINTER, '').replace(ADDRESS, '?')).trim())
    .filter((line) => line !== '')
    .slice(0, FRAMES);
}
