/**
 * Finds losses that no gap in the sequence numbers shows, from counters of the kernel and of the ring. Each
 * lost record is reported once, also across restarts of an agent whose probes are pinned.
 */
import type { UncountedLoss } from '../../src/events/source.ts';

/** Totals by reason; never less than before. */
export type LossTotals = Readonly<Record<UncountedLoss, number>>;

const REASONS: readonly UncountedLoss[] = ['probe_missed', 'calls_full', 'unreadable', 'malformed'];

export class LossCounter {
  readonly #read: () => LossTotals;
  #reported: LossTotals;

  /** @param read asks the kernel @param reported what earlier agents have reported of these totals */
  constructor(read: () => LossTotals, reported: LossTotals) {
    this.#read = read;
    this.#reported = reported;
  }

  /** Whether something was lost that has not been reported yet. Costs system calls. */
  hasMissed(): boolean {
    const now = this.#read();
    return REASONS.some((reason) => now[reason] > this.#reported[reason]);
  }

  /**
   * Reports the losses since the last call.
   * @param before is called first with the new totals, to keep them for the next agent: one that is killed
   *   in between must not make the next agent report these losses again
   */
  report(
    before: (totals: LossTotals) => void,
    lost: (reason: UncountedLoss, count: number) => void,
  ) {
    const now = this.#read();
    const earlier = this.#reported;
    before(now);
    this.#reported = now;
    for (const reason of REASONS) {
      const count = now[reason] - earlier[reason];
      if (count > 0) lost(reason, count);
    }
  }
}
