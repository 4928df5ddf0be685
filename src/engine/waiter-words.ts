/** Sentences and lines about who waits behind a call that does not return. */

import type { MissingTasks } from '../events/host.ts';
import type { Waiter, Waiters } from './violation.ts';
import { sleeperOf } from './wait-cycle.ts';
import { inFull, inWords, seconds } from './words.ts';

/** So many waiters of each certainty are named in a sentence; the violation has more of them. */
const MOST_NAMED = 3;
/** How many have a line of their own in the log. */
const MOST_LINES = 8;

const MISSING: Readonly<Record<MissingTasks, string>> = {
  hidden: '/proc hides the processes of other users',
  unreadable: 'some tasks could not be read',
  truncated: 'more tasks are blocked than are looked at',
};

/** Whether anybody waits, or may wait. */
export function hasWaiters(waiters: Waiters | undefined): waiters is Waiters {
  return waiters !== undefined && waiters.listed.length > 0;
}

/** What is said of one waiter, of several, and where they wait, by how much of that is known. */
const WORDS: Readonly<Record<Waiter['how'], readonly [one: string, many: string, what: string]>> = {
  waits: ['waits', 'wait', 'behind it'],
  'probably waits': [
    ...(['probably waits', 'probably wait'] as const),
    'behind it, inferred from waiting for the lock of a device',
  ],
  'may wait': [
    ...(['may wait', 'may wait'] as const),
    'behind it or behind another call, inferred from the kernel stack alone',
  ],
};

/**
 * A sentence for those who wait and others for those of whom that is inferred; nothing when there are none.
 * @param now ns on the boot-time clock
 */
export function waiterSentences(waiters: Waiters | undefined, now: number): string {
  if (!hasWaiters(waiters)) return '';
  const { sure, probable, possible, listed, missing } = waiters;
  const sentence = (how: Waiter['how'], count: number) => {
    const named = listed.filter((one) => one.how === how).slice(0, MOST_NAMED);
    return countSentence(
      count,
      how,
      named.map((waiter) => nameOf(waiter, now)),
    );
  };
  const sentences = [
    sentence('waits', sure),
    sentence('probably waits', probable),
    sentence('may wait', possible),
    missing.length > 0 ? ` There may be more: ${missingWords(missing)}.` : '',
  ];
  return sentences.join('');
}

/** One line for each waiter, for the log. @param now ns on the boot-time clock */
export function waiterLines(waiters: Waiters | undefined, now: number): string[] {
  if (!hasWaiters(waiters)) return [];
  const { sure, probable, possible, listed, missing } = waiters;
  const lines = listed.slice(0, MOST_LINES).map((waiter) => {
    const { how, inKernel } = waiter;
    return `${inFull(waiter)}, ${how}${where(waiter, now)}, ${inKernel.state}`;
  });
  const more = sure + probable + possible - lines.length;
  return [
    ...lines,
    ...(more > 0 ? [`and ${more} more`] : []),
    ...(missing.length > 0 ? [`(perhaps others: ${missingWords(missing)})`] : []),
  ];
}

function countSentence(count: number, how: Waiter['how'], names: readonly string[]): string {
  if (count === 0) return '';
  const [one, many, what] = WORDS[how];
  const more = count > names.length ? [`${count - names.length} more`] : [];
  const tasks = count === 1 ? `1 other task ${one}` : `${count} other tasks ${many}`;
  return ` ${tasks} ${what}: ${inWords([...names, ...more])}.`;
}

/** "libvirtd (pid 4, in device_del)"; a thread has a name of its own. */
function nameOf(waiter: Waiter, now: number): string {
  const { pid, tid, comm } = waiter.task;
  const ids = pid === tid ? `pid ${pid}` : `thread ${tid} of pid ${pid}`;
  return `${comm} (${ids}${where(waiter, now)})`;
}

function where({ inKernel, callBegan }: Waiter, now: number): string {
  const sleeper = sleeperOf(inKernel);
  const place = sleeper ? `, in ${sleeper}` : '';
  return callBegan ? `${place}, its call began ${seconds(now - callBegan)} ago` : place;
}

function missingWords(missing: readonly MissingTasks[]): string {
  return missing.map((one) => MISSING[one]).join(', ');
}
