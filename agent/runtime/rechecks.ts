/** Decides when a host snapshot is repeated, for calls that were in flight during the one before. */

/**
 * ms after the end of the snapshot. A call that began before it is not seen to end, so only a later snapshot
 * shows the result. Most calls take milliseconds; on a busy machine, and to open or reset a real device,
 * seconds.
 */
export const RECHECKS_MS: readonly number[] = [1500, 6000, 24_000];

export class Rechecks {
  /** When the latest snapshot ended that was not a recheck, ms. */
  #since = Number.POSITIVE_INFINITY;
  #next = 0;

  /** A snapshot that is not a recheck has ended: its rechecks replace those of the one before. */
  begin(now: number): void {
    this.#since = now;
    this.#next = 0;
  }

  /** Whether one has become due since the last call. Several at once count as one. */
  isDue(now: number): boolean {
    const before = this.#next;
    while (this.#next < RECHECKS_MS.length && now >= this.#since + RECHECKS_MS[this.#next]) {
      this.#next++;
    }
    return this.#next > before;
  }
}
