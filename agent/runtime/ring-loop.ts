/**
 * Drains the ring until it is stopped. While events come, the ring is polled every millisecond: sleeping
 * until each event would cost more than reading does, and the wake-up through a thread pool takes longer
 * than a small ring lasts. After some empty polls, the loop sleeps until the kernel wakes it.
 */
import { setImmediate as immediately, setTimeout as later } from 'node:timers/promises';
import type { EventCursor } from '../../src/events/cursor.ts';

/** Records processed before the rest of the agent gets its turn. */
export const BATCH = 8192;
/** ms. The longest sleep. */
const IDLE_MS = 1000;
/** Empty polls, one per millisecond, before the loop sleeps. */
export const EMPTY_POLLS = 5;

export interface DrainableRing {
  /** @returns how many records were read, at most `budget` */
  drain(budget: number, receive: (event: EventCursor) => void): number;
  /** Bytes that wait to be read. */
  readonly backlog: number;
}

/** How the loop waits; tests replace it. */
export interface Waits {
  /** Lets the event loop run other work first. */
  yield(): Promise<unknown>;
  poll(): Promise<unknown>;
  /** Resolves when the ring is readable, after `timeoutMs`, or when {@link wake} is called. */
  wait(timeoutMs: number): Promise<void>;
  /** Ends the current and every later wait. */
  wake(): void;
}

/** @param waiter waits for the ring */
export function realWaits(waiter: Pick<Waits, 'wait' | 'wake'>): Waits {
  return {
    yield: () => immediately(),
    poll: () => later(1),
    wait: (timeoutMs) => waiter.wait(timeoutMs),
    wake: () => waiter.wake(),
  };
}

export class RingLoop {
  readonly #ring: DrainableRing;
  readonly #waits: Waits;
  readonly #receive: (event: EventCursor) => void;
  readonly #afterBatch: (isBehind: boolean) => void;
  #stopping = false;
  #running: Promise<void> | undefined;

  /**
   * @param receive is called for each record; the cursor is valid only during the call
   * @param afterBatch is called after each drain, with whether more records are waiting
   */
  constructor(
    ring: DrainableRing,
    waits: Waits,
    receive: (event: EventCursor) => void,
    afterBatch: (isBehind: boolean) => void,
  ) {
    this.#ring = ring;
    this.#waits = waits;
    this.#receive = receive;
    this.#afterBatch = afterBatch;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Resolves when the loop has ended; records may be left in the ring. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#waits.wake();
    await this.#running;
  }

  /** Drains one batch. @returns whether the ring was empty afterwards */
  drain(): boolean {
    return this.#batch() < BATCH && this.#ring.backlog === 0;
  }

  /** Drains everything that was written before the call. */
  async drainAll(): Promise<void> {
    while (this.#batch() === BATCH) await this.#waits.yield();
  }

  async #run(): Promise<void> {
    let empty = 0;
    while (!this.#stopping) {
      const count = this.#batch();
      empty = count === 0 ? empty + 1 : 0;
      this.#afterBatch(count === BATCH);
      if (count === BATCH) await this.#waits.yield();
      else if (empty < EMPTY_POLLS) await this.#waits.poll();
      else await this.#waits.wait(IDLE_MS);
    }
  }

  #batch(): number {
    return this.#ring.drain(BATCH, this.#receive);
  }
}
