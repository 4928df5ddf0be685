/** Finds lost records by the gaps in each CPU's sequence numbers. */
import type { EventCursor } from './cursor.ts';

export class SequenceCheck {
  /** Records that were tried but never arrived. */
  lost = 0;
  readonly #next: number[] = [];
  readonly #gaps: number[] = [];

  /**
   * Continues where another reader of the same records stopped.
   * @param next the next sequence number of each CPU
   */
  resumeAt(next: readonly number[]): void {
    for (const [cpu, seq] of next.entries()) {
      this.#next[cpu] = seq;
      this.#gaps[cpu] ??= 0;
    }
  }

  /** @returns how many records of this CPU are missing before this one */
  observe(event: EventCursor): number {
    return this.#advance(event.cpu, event.seq, (event.seq + 1) >>> 0);
  }

  /**
   * Finds losses that no later record has shown yet.
   * @param attempts records that this CPU had tried to write when the ring was last seen empty
   * @returns how many of them never arrived
   */
  settle(cpu: number, attempts: number): number {
    const next = attempts % 2 ** 32;
    return this.#advance(cpu, next, next);
  }

  /** Lost records by CPU number. */
  byCpu(): readonly number[] {
    return this.#gaps;
  }

  #advance(cpu: number, seq: number, next: number): number {
    while (this.#next.length <= cpu) {
      this.#next.push(0);
      this.#gaps.push(0);
    }
    const missing = (seq - this.#next[cpu]) >>> 0;
    // More than half the range "missing" means that records beyond `seq` were read already.
    if (missing > 2 ** 31) return 0;
    this.#next[cpu] = next;
    if (missing > 0) {
      this.lost += missing;
      this.#gaps[cpu] += missing;
    }
    return missing;
  }
}
