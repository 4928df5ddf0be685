/** Limits of a process, from /proc/PID/limits. */
import { SECOND } from '../units.ts';
import { bootTime } from './os.ts';
import { hasHostPids, said } from './proc.ts';

/** How long an answer may be used again, ns: a process may be refused thousands of times a second. */
const FRESH = SECOND;

/** Asks for the limit of the same process at most once a second. */
export class LockedMemoryLimits {
  readonly #read: (pid: number) => number | undefined;
  readonly #now: () => number;
  #pid = 0;
  #readAt = 0;
  #limit: number | undefined;

  constructor(read: (pid: number) => number | undefined = lockedMemoryLimit, now = bootTime) {
    this.#read = read;
    this.#now = now;
  }

  of(pid: number): number | undefined {
    const now = this.#now();
    if (pid === this.#pid && now - this.#readAt < FRESH) return this.#limit;
    this.#pid = pid;
    this.#readAt = now;
    this.#limit = this.#read(pid);
    return this.#limit;
  }
}

const LOCKED_MEMORY = /^Max locked memory +(\d+|unlimited) /m;

/** @returns bytes, Infinity if it has no limit; undefined when the process is gone, or it cannot be read */
export function lockedMemoryLimit(pid: number, proc = '/proc'): number | undefined {
  try {
    if (!hasHostPids(proc)) return undefined;
  } catch {
    return undefined;
  }
  const [, limit] = LOCKED_MEMORY.exec(said(`${proc}/${pid}/limits`)) ?? [];
  if (limit === undefined) return undefined;
  return limit === 'unlimited' ? Number.POSITIVE_INFINITY : Number(limit);
}
