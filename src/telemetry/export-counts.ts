/** Counts spans, log records and data points of metrics for a collector, by outcome. */
export const SIGNALS = ['traces', 'logs', 'metrics'] as const;
export const OUTCOMES = ['sent', 'queue_full', 'failed'] as const;
export type Signal = (typeof SIGNALS)[number];
/** queue_full: dropped at once, because others are queued or being sent. failed: the collector was unreachable or refused it. */
export type Outcome = (typeof OUTCOMES)[number];

export class ExportCounts {
  readonly #counts = new Map<string, number>();

  add(signal: Signal, outcome: Outcome, count: number): void {
    const key = `${signal} ${outcome}`;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + count);
  }

  of(signal: Signal, outcome: Outcome): number {
    return this.#counts.get(`${signal} ${outcome}`) ?? 0;
  }

  /** Items that will not reach the collector. */
  dropped(signal: Signal): number {
    return this.of(signal, 'queue_full') + this.of(signal, 'failed');
  }
}
