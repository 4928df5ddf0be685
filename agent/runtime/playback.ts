/**
 * Stands between a recording and its listener, and lets time pass. A live source
 * catches up about once a second; a recording may be of one that was too busy for it,
 * or lack a part. Rules that wait need their clock all the same.
 */
import type { EventCursor } from '../../src/events/cursor.ts';
import type { PointStatus, SourceListener, UncountedLoss } from '../../src/events/source.ts';
import { Sight } from './sight.ts';

/** ns. */
const SECOND = 1e9;
/** ns: of a longer silence, only its end is told second by second. */
const LONGEST = 3600 * SECOND;
const NO_ATTEMPTS: readonly number[] = [];

export class Playback implements SourceListener {
  readonly sight: Sight;
  /** ns on the boot-time clock: how far the recording has been played. */
  now: number;
  readonly #listener: SourceListener;
  /** ns: when the listener was last told the time. */
  #told: number;

  /** @param start ns on the boot-time clock, when the recording began */
  constructor(listener: SourceListener, start: number) {
    this.#listener = listener;
    this.#told = start;
    this.now = start;
    this.sight = new Sight(start);
  }

  record(event: EventCursor): void {
    const { time } = event;
    if (time > this.now) this.now = time;
    if (time - this.#told >= SECOND) this.#pass(time);
    this.#listener.record(event);
  }

  lost(reason: UncountedLoss, count: number): void {
    this.#listener.lost(reason, count);
  }

  caughtUp(now: number, attempts: readonly number[]): void {
    // The call itself is the last of the seconds.
    this.#pass(now - SECOND);
    this.now = Math.max(this.now, now);
    this.#told = Math.max(this.#told, now);
    this.#listener.caughtUp(now, attempts);
  }

  watching(points: readonly PointStatus[]): void {
    this.sight.change(points, this.now);
    this.#listener.watching(points);
  }

  /** Tells every second up to `time` that was not told. */
  #pass(time: number): void {
    this.#told = Math.max(this.#told, time - LONGEST);
    while (time - this.#told >= SECOND) {
      this.#told += SECOND;
      this.#listener.caughtUp(this.#told, NO_ATTEMPTS);
    }
  }
}
