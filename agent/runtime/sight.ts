/** What could be seen while a recording was made, and for how long each point could not. */
import { isWatched, type PointStatus } from '../../src/events/source.ts';

export interface Unseen {
  readonly point: string;
  /** The latest. */
  readonly reason: string;
  /** ns. */
  readonly lasted: number;
}

export class Sight {
  /** The latest. */
  points: readonly PointStatus[] = [];
  readonly #unseen = new Map<string, Unseen>();
  /** ns on the boot-time clock: what is known of durations is up to here. */
  #since: number;

  constructor(start: number) {
    this.#since = start;
  }

  /** @param now ns on the boot-time clock */
  change(points: readonly PointStatus[], now: number): void {
    this.unseen(now);
    this.points = points;
  }

  /** The points that were not watched all the time. @param now ns on the boot-time clock */
  unseen(now: number): readonly Unseen[] {
    for (const status of this.points) {
      if (isWatched(status)) continue;
      const { point, state, reason = state } = status;
      const lasted = (this.#unseen.get(point)?.lasted ?? 0) + now - this.#since;
      this.#unseen.set(point, { point, reason, lasted });
    }
    this.#since = now;
    return [...this.#unseen.values()];
  }
}
