/** Which points were watched while a recording was made, and how long each was not. */
import { isWatched, type PointStatus } from '../../src/events/source.ts';

export interface Unwatched {
  readonly point: string;
  /** The latest one. */
  readonly reason: string;
  /** ns. */
  readonly lasted: number;
}

export class Coverage {
  /** The latest states. */
  points: readonly PointStatus[] = [];
  readonly #unwatched = new Map<string, Unwatched>();
  /** ns on the boot-time clock: durations are counted up to here. */
  #since: number;

  constructor(start: number) {
    this.#since = start;
  }

  /** @param now ns on the boot-time clock */
  change(points: readonly PointStatus[], now: number): void {
    this.unwatched(now);
    this.points = points;
  }

  /** The points that were not watched all the time. @param now ns on the boot-time clock */
  unwatched(now: number): readonly Unwatched[] {
    for (const status of this.points) {
      if (isWatched(status)) continue;
      const { point, state, reason = state } = status;
      const lasted = (this.#unwatched.get(point)?.lasted ?? 0) + now - this.#since;
      this.#unwatched.set(point, { point, reason, lasted });
    }
    this.#since = now;
    return [...this.#unwatched.values()];
  }
}
