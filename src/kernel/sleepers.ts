/**
 * Which threads sleep on. Only their kernel stacks are read: the unwinder walks the stack of another thread
 * while that may wake up and use it. Besides a wrong stack, kernels from 5.18 to 6.8 then log a warning
 * (rethook_find_ret_addr() in kernel/trace/rethook.c) where a frame is one of a probed function, which is what
 * threads wait in here, and a warning may be set to end in a panic. A thread that has slept through since an
 * earlier look hardly wakes up in the microseconds that it takes.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { bootTime } from './os.ts';
import { field, said } from './proc.ts';
import { pacer } from './sysfs-files.ts';

/** How long a thread must have slept, ms: longer than drivers sleep between two looks at their hardware. */
export const QUIET_MS = 120;
/** How many threads are remembered. */
const MOST = 4096;

interface Look {
  /** How often it had been switched to another thread. */
  readonly switches: string;
  /** When that was first seen, ns on the boot-time clock. */
  readonly since: number;
}

export class Sleepers {
  readonly #looks = new Map<number, Look>();
  readonly #now: () => number;

  constructor(now = bootTime) {
    this.#now = now;
  }

  /**
   * Whether the thread has slept through since an earlier call, {@link QUIET_MS} ago or longer.
   * @param status of the thread, as /proc/TID/status has it
   */
  hasSlept(tid: number, status: string): boolean {
    const switches = switchesOf(status);
    if (switches === undefined) return true;
    const now = this.#now();
    const look = this.#looks.get(tid);
    if (look?.switches === switches) return now - look.since >= QUIET_MS * 1e6;
    this.#remember(tid, { switches, since: now });
    return false;
  }

  #remember(tid: number, look: Look): void {
    // Behind the others, so that the first ones are those that were not seen to change for longest.
    this.#looks.delete(tid);
    this.#looks.set(tid, look);
    if (this.#looks.size <= MOST) return;
    const [oldest] = this.#looks.keys();
    this.#looks.delete(oldest);
  }
}

/** Of all threads of this host. */
export const sleepers = new Sleepers();

/**
 * Waits until {@link Sleepers.hasSlept} can be true of each of these threads that sleeps on.
 * @param threads their ids and directories in /proc
 */
export async function untilAsleep(
  threads: readonly { readonly tid: number; readonly directory: string }[],
): Promise<void> {
  const pace = pacer();
  let areAsleep = true;
  for (const { tid, directory } of threads) {
    if (!sleepers.hasSlept(tid, said(`${directory}/status`))) areAsleep = false;
    await pace();
  }
  if (!areAsleep) await pause(QUIET_MS);
}

function switchesOf(status: string): string | undefined {
  const voluntary = field(status, 'voluntary_ctxt_switches');
  const others = field(status, 'nonvoluntary_ctxt_switches');
  return voluntary === undefined ? undefined : `${voluntary} ${others}`;
}
