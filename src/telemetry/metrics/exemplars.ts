/** The latest violation of each rule and severity that has a trace: the exemplars of their counters. */
import type { Exemplar } from './samples.ts';

export class RaisedExemplars {
  readonly #latest = new Map<string, Exemplar>();

  /**
   * Keeps a violation that was raised or escalated.
   * @param key "rule severity"
   * @param traceId undefined if the object has no trace
   * @param at seconds since 1970
   */
  raised(key: string, traceId: string | undefined, at: number): void {
    if (traceId !== undefined) this.#latest.set(key, { traceId, value: 1, at });
  }

  /** @param key "rule severity" */
  of(key: string): Exemplar | undefined {
    return this.#latest.get(key);
  }
}
