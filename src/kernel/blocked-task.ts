/** What a task waits for inside the kernel, from /proc. */
import { plain } from '../events/text.ts';
import type { Task } from '../lifecycle/objects.ts';
import type { BlockedTask } from '../rules/rule.ts';
import { field, hasHostPids, said } from './proc.ts';

/** More than any wait of mdev, VFIO or KVM has below its system call. */
const FRAMES = 32;

/** Since 4.14 the kernel shows "[<0>]"; whatever else looks like an address is not passed on. */
const POINTER = /^\[<[^>]*>\]\s*/;
const ADDRESS = /\b(?:0x)?[0-9a-f]{8,}\b/gi;

/** @returns undefined when the task is gone, or its id another's, or not to be seen */
export function blockedTask(
  { pid, tid }: Pick<Task, 'pid' | 'tid'>,
  proc = '/proc',
): BlockedTask | undefined {
  try {
    if (!hasHostPids(proc)) return undefined;
  } catch {
    return undefined;
  }
  const status = said(`${proc}/${tid}/status`);
  const state = field(status, 'State');
  if (state === undefined || field(status, 'Tgid') !== `${pid}`) return undefined;
  const wchan = said(`${proc}/${tid}/wchan`);
  const stack = framesOf(said(`${proc}/${tid}/stack`));
  return {
    state,
    ...(wchan === '' || wchan === '0' ? {} : { wchan: plain(wchan) }),
    ...(stack.length > 0 ? { stack } : {}),
  };
}

/** @param text as /proc/TID/stack has it: empty without CAP_SYS_ADMIN */
export function framesOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => plain(line.replace(POINTER, '').replace(ADDRESS, '?')).trim())
    .filter((line) => line !== '')
    .slice(0, FRAMES);
}
