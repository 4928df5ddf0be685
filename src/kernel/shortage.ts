/** What the kernel refuses only for now, and the descriptors that are kept for when others run short of them. */
import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';

const SHORTAGES = ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN'] as const;
const NUMBERS = new Set<number>(SHORTAGES.map((name) => constants.errno[name]));

/** Descriptors that the reserve leaves to everything else when it has found no more. */
const LEFT_TO_OTHERS = 16;
/** ms until a first further attempt, and at most between two. */
const FIRST_DELAY = 1000;
const LONGEST_DELAY = 60_000;

/** Whether the same call may succeed later, when there are descriptors or memory again. */
export function isShortage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && SHORTAGES.some((name) => name === error.code)) return true;
  // libbpf gives the number, which Node's own errors have as a negative one.
  return 'errno' in error && NUMBERS.has(Math.abs(Number(error.errno)));
}

/**
 * Descriptors that are held open for the probes. Connections and files of the host may use up all others, and
 * a module that is loaded then must still be watched.
 */
export class DescriptorReserve {
  readonly #held: number[] = [];

  get size(): number {
    return this.#held.length;
  }

  /** Holds that many, or as many as there are. */
  fill(count: number): void {
    this.#give(this.#held.length - count);
    try {
      while (this.#held.length < count) this.#held.push(openSync('/dev/null', 'r'));
    } catch {
      // Short of descriptors, or without /dev/null: a smaller reserve is no reason to stop.
      this.#give(LEFT_TO_OTHERS);
    }
  }

  /** Gives all of them back, for what must be opened now. */
  release(): void {
    this.#give(this.#held.length);
  }

  #give(count: number): void {
    if (count > 0) for (const fd of this.#held.splice(-count)) closeSync(fd);
  }
}

/** When something that was refused for a shortage is tried again: later each time. */
export class Retries {
  #delay = FIRST_DELAY;
  #at = 0;

  /** @param now ms on any steady clock */
  isDue(now: number): boolean {
    return now >= this.#at;
  }

  /** @param isShort whether something is still refused */
  tried(isShort: boolean, now: number): void {
    this.#at = now + this.#delay;
    this.#delay = isShort ? Math.min(2 * this.#delay, LONGEST_DELAY) : FIRST_DELAY;
  }
}
