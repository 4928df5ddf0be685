import type { SnapshotReason } from '../events/source.ts';

/** Counts host snapshots, and keeps the begin and duration of the last one, for the metrics. */
export class SnapshotCounts {
  /** By reason. */
  readonly counts = new Map<SnapshotReason, number>([
    ['start', 0],
    ['module', 0],
    ['loss', 0],
    ['recheck', 0],
  ]);
  /** Seconds since 1970 when the last snapshot that has been processed began; 0 if there was none. */
  lastBegan = 0;
  /** Duration of that snapshot in seconds. */
  lastTook = 0;
  /** The codes of what that snapshot could not read. */
  lastProblems: readonly string[] = [];

  count(reason: SnapshotReason, began: number, took: number, problems: readonly string[]): void {
    this.counts.set(reason, (this.counts.get(reason) ?? 0) + 1);
    this.lastBegan = began;
    this.lastTook = took;
    this.lastProblems = problems;
  }
}
