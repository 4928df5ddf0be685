/**
 * Decides when a host snapshot is due. One runs at a time, with a pause between two, so that snapshots are
 * not all that the agent does while events keep getting lost. Each is followed by rechecks: calls that were
 * in flight during the snapshot show only in their ends, and an end without a begin names no object.
 */
import type { SnapshotReason } from '../../src/events/source.ts';
import { Rechecks } from './rechecks.ts';

/** ms from the end of a snapshot to the begin of the next. */
export const SNAPSHOT_PAUSE_MS = 250;

export class SnapshotSchedule {
  /** The first reason since the last snapshot began. */
  #wanted: SnapshotReason | undefined;
  #running: SnapshotReason | undefined;
  #endedAt = Number.NEGATIVE_INFINITY;
  readonly #rechecks = new Rechecks();

  want(reason: SnapshotReason): void {
    this.#wanted ??= reason;
  }

  /**
   * Begins a snapshot if one is due; {@link end} has to follow.
   * @param now ms on a monotonic clock
   * @returns why it is due, or undefined
   */
  begin(now: number): SnapshotReason | undefined {
    if (this.#rechecks.isDue(now)) this.want('recheck');
    if (this.#running || now - this.#endedAt < SNAPSHOT_PAUSE_MS) return undefined;
    this.#running = this.#wanted;
    this.#wanted = undefined;
    return this.#running;
  }

  /** @param now ms on the same clock */
  end(now: number): void {
    if (this.#running !== 'recheck') this.#rechecks.begin(now);
    this.#running = undefined;
    this.#endedAt = now;
  }
}
