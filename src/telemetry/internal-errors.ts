/** Errors of the agent itself, each of which is a bug: counted by component, for the metrics. */

/** rule: a rule threw, and may miss violations. http: a response failed. otlp: metrics could not be read for a collector. */
export const COMPONENTS = ['rule', 'http', 'otlp'] as const;
export type Component = (typeof COMPONENTS)[number];

export class InternalErrors {
  readonly #counts = new Map<Component, number>(COMPONENTS.map((component) => [component, 0]));
  readonly #latest = new Map<Component, number>(COMPONENTS.map((component) => [component, 0]));

  /** @param at seconds since 1970 */
  count(component: Component, at: number): void {
    this.#counts.set(component, this.of(component) + 1);
    this.#latest.set(component, at);
  }

  of(component: Component): number {
    return this.#counts.get(component) ?? 0;
  }

  /** When the last one happened, seconds since 1970; 0 for never. */
  latest(component: Component): number {
    return this.#latest.get(component) ?? 0;
  }
}
