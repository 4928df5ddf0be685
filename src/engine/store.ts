/** The violations that are kept for the API: bounded, and the least severe leave first. */
import type { Found } from './found.ts';
import { SEVERITIES } from './rule.ts';
import type { Violation } from './violation.ts';

/** Within a severity, resolved violations leave first, then one-shot ones, then ongoing ones. */
const STATES = 3;

export class ViolationStore {
  readonly #limit: number;
  readonly #byId = new Map<string, Found>();
  /** By severity and state in the order in which they leave; in each, the one seen longest ago is first. */
  readonly #shelves: Set<Found>[] = Array.from(
    { length: SEVERITIES.length * STATES },
    () => new Set(),
  );

  /** @param limit how many violations are kept */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** In the order in which they were raised. */
  list(): Violation[] {
    return Array.from(this.#byId.values(), ({ violation }) => violation);
  }

  find(id: string): Violation | undefined {
    return this.#byId.get(id)?.violation;
  }

  /** @returns what had to leave for it, which may be itself */
  add(found: Found): Found | undefined {
    this.#byId.set(found.violation.id, found);
    this.#shelve(found);
    if (this.#byId.size <= this.#limit) return undefined;
    for (const shelf of this.#shelves) {
      for (const victim of shelf) {
        shelf.delete(victim);
        this.#byId.delete(victim.violation.id);
        return victim;
      }
    }
    return undefined;
  }

  /** It was seen again, or its severity or state has changed. */
  moved(found: Found): void {
    if (!this.#byId.has(found.violation.id)) return;
    this.#shelves[found.shelf].delete(found);
    this.#shelve(found);
  }

  #shelve(found: Found): void {
    const { severity, ongoing, resolvedAt } = found.violation;
    const state = resolvedAt > 0 ? 0 : ongoing ? 2 : 1;
    found.shelf = SEVERITIES.indexOf(severity) * STATES + state;
    this.#shelves[found.shelf].add(found);
  }
}
