/** Which life last raised a violation of each rule and severity, for the exemplars of their count. */
import type { Exemplar } from './metric.ts';

export class RaisedExemplars {
  readonly #latest = new Map<string, Exemplar>();

  /**
   * Notes one.
   * @param key "rule severity"
   * @param traceId undefined when the life has no trace
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
