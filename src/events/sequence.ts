/** Finds lost records by the gaps in each CPU's sequence numbers. */
import type { EventCursor } from './cursor.ts';

export class SequenceCheck {
  /** Records that were written about but never arrived. */
  lost = 0;
  readonly #next: number[] = [];
  readonly #gaps: number[] = [];

  /** @returns how many records of this CPU are missing before this one */
  observe(event: EventCursor): number {
    const { cpu, seq } = event;
    while (this.#next.length <= cpu) {
      this.#next.push(0);
      this.#gaps.push(0);
    }
    const missing = (seq - this.#next[cpu]) >>> 0;
    this.#next[cpu] = (seq + 1) >>> 0;
    if (missing > 0) {
      this.lost += missing;
      this.#gaps[cpu] += missing;
    }
    return missing;
  }

  /** Lost records by CPU number. */
  byCpu(): readonly number[] {
    return this.#gaps;
  }
}
