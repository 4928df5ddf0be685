/**
 * Passes a recording on to its listener, and adds the passing of time. A live source catches up about
 * once a second; a recorded one may have been too busy for it, or a part may be missing. Rules that wait
 * need the clock nevertheless. How much work a pause may ask for is bounded: a few bytes can stand for years.
 */

import type { EventCursor } from '../../src/events/cursor.ts';
import type { PointStatus, SourceListener, UncountedLoss } from '../../src/events/source.ts';
import { SECOND } from '../../src/units.ts';
import { Coverage } from './coverage.ts';

/**
 * Nothing but time changes in a pause, and rules wait for round times: steps of a second at first, and later
 * this part of the pause so far, which is as exact for a rule that waits for hours.
 */
const STEP_OF_PAUSE = 1 / 64;
/** Steps that pauses may take, besides one for each call of the recording. */
const FREE_STEPS = 50_000;
const NO_ATTEMPTS: readonly number[] = [];

export class Playback implements SourceListener {
  readonly coverage: Coverage;
  /** ns on the boot-time clock: how far the recording has been played. */
  now: number;
  readonly #listener: SourceListener;
  /** ns: the latest time that the listener got. */
  #passed: number;
  /** ns: when something else than time changed last. */
  #changed: number;
  #steps = FREE_STEPS;
  /** ns: from when on pauses are passed at once, because steps have run out. */
  skippedFrom: number | undefined;

  /** @param start ns on the boot-time clock, when the recording began */
  constructor(listener: SourceListener, start: number) {
    this.#listener = listener;
    this.#passed = start;
    this.#changed = start;
    this.now = start;
    this.coverage = new Coverage(start);
  }

  record(event: EventCursor): void {
    const { time } = event;
    if (time > this.now) this.now = time;
    if (time - this.#passed >= SECOND) this.#pass(time);
    if (time > this.#changed) this.#changed = time;
    this.#steps++;
    this.#listener.record(event);
  }

  lost(reason: UncountedLoss, count: number): void {
    this.#listener.lost(reason, count);
  }

  caughtUp(now: number, attempts: readonly number[]): void {
    // The call below is the last of these seconds.
    this.#pass(now - SECOND);
    this.#steps++;
    this.now = Math.max(this.now, now);
    this.#passed = Math.max(this.#passed, now);
    this.#listener.caughtUp(now, attempts);
  }

  watching(points: readonly PointStatus[]): void {
    this.coverage.change(points, this.now);
    this.#listener.watching(points);
  }

  /** Calls caughtUp() for the time up to `time` that has not been passed. */
  #pass(time: number): void {
    while (time - this.#passed >= SECOND) {
      const left = time - this.#passed;
      const step = Math.max(SECOND, (this.#passed - this.#changed) * STEP_OF_PAUSE);
      if (this.#steps <= 0) this.skippedFrom ??= this.#passed;
      this.#passed += this.#steps > 0 ? Math.min(step, left) : left;
      this.#steps--;
      this.#listener.caughtUp(this.#passed, NO_ATTEMPTS);
    }
  }
}
