/** How often the host was looked at, when last, and what that took: for the metrics. */
export class Looks {
  /** By reason. */
  readonly counts = new Map<string, number>([
    ['start', 0],
    ['module', 0],
    ['loss', 0],
    ['again', 0],
  ]);
  /** Seconds since 1970 when the last one began that has been taken in; 0 for never. */
  lastBegan = 0;
  /** Seconds. */
  lastTook = 0;

  count(reason: string, began: number, took: number): void {
    this.counts.set(reason, (this.counts.get(reason) ?? 0) + 1);
    this.lastBegan = began;
    this.lastTook = took;
  }
}
