/** What became of what was to be sent to a collector. */
export const SIGNALS = ['traces', 'logs'] as const;
export const OUTCOMES = ['sent', 'queue_full', 'failed'] as const;
export type Signal = (typeof SIGNALS)[number];
/** queue_full: it was dropped at once. failed: the collector could not be reached, or refused. */
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

  /** What will not arrive. */
  dropped(signal: Signal): number {
    return this.of(signal, 'queue_full') + this.of(signal, 'failed');
  }
}
