/**
 * Keeps the critical violations since the host was booted, with their evidence, over restarts of the agent:
 * only a reboot makes a kernel safe again that was observed to free what is in use.
 */
import type { Logger } from 'pino';
import { type Change, isOccurrence, type Sink } from '../../src/engine/sink.ts';
import type { Violation } from '../../src/engine/violation.ts';
import { messageOf } from '../../src/errors.ts';
import type { EarlierViolation } from '../../src/http/server.ts';
import { plainLine } from '../../src/plain.ts';
import { type CriticalViolation, criticalSeries } from '../../src/telemetry/critical-violation.ts';
import type { CriticalStore, StoredViolation } from './critical-store.ts';

/** How many are kept: the latest. */
const MOST = 100;

export interface CriticalsOptions {
  readonly store: CriticalStore;
  readonly log: Logger;
  /** A violation as the API shows it. */
  readonly view: (violation: Violation) => object;
  /** Seconds since 1970. */
  readonly now: () => number;
}

export class Criticals implements Sink {
  readonly #options: CriticalsOptions;
  /** By id, in the order in which they last occurred. */
  readonly #kept = new Map<string, StoredViolation>();
  /** Those that earlier runs of the agent have found. */
  readonly #earlier = new Set<string>();
  #isStored = true;
  #isChanged = false;
  /** How many are no longer kept, because as many later ones are. */
  dropped = 0;

  constructor(options: CriticalsOptions) {
    this.#options = options;
  }

  /** Reads what earlier agents of this boot have found. Without its directory, nothing is kept over a restart. */
  load(): void {
    const { store, log } = this.#options;
    try {
      const { violations, setAside } = store.load();
      for (const one of violations.slice(-MOST)) {
        this.#kept.set(one.id, one);
        this.#earlier.add(one.id);
      }
      if (setAside) {
        log.warn(
          { event: 'criticals.set_aside', path: setAside.as, reason: plainLine(setAside.reason) },
          `critical violations of earlier runs cannot be read (${plainLine(setAside.reason)}); the file is now ${setAside.as}`,
        );
      }
    } catch (error) {
      this.#cannotStore(error);
    }
    if (this.#kept.size === 0) return;
    log.warn(
      { event: 'criticals.restored', count: this.#kept.size },
      `earlier runs of the agent have found ${this.#kept.size} critical violation(s) since this host was booted; only a reboot makes its kernel safe`,
    );
  }

  violation(violation: Violation, change: Change): void {
    if (violation.severity !== 'critical') return;
    const occurs = isOccurrence(change);
    const known = this.#kept.get(violation.id);
    // More may become known of one that is no longer kept; that must not push out a later one.
    if (!known && !occurs) return;
    const at = known && !occurs ? known.series.at : this.#options.now();
    if (occurs) this.#kept.delete(violation.id);
    this.#kept.set(violation.id, this.#stored(violation, at, known));
    if (this.#kept.size > MOST) {
      const [oldest] = this.#kept.keys();
      this.#kept.delete(oldest);
      this.#earlier.delete(oldest);
      this.dropped++;
    }
    this.#isChanged = true;
    // The kernel may crash at any time now. Repetitions wait for the tick, because there may be many.
    if (change !== 'repeated') this.tick();
  }

  /** Writes what has changed. */
  tick(): void {
    if (!this.#isChanged || !this.#isStored) return;
    this.#isChanged = false;
    try {
      this.#options.store.save([...this.#kept.values()]);
    } catch (error) {
      this.#cannotStore(error);
    }
  }

  #cannotStore(error: unknown): void {
    this.#isStored = false;
    const reason = plainLine(messageOf(error));
    this.#options.log.warn(
      { event: 'criticals.not_kept', reason },
      `critical violations will be forgotten when the agent stops: ${reason}`,
    );
  }

  end(): void {
    this.tick();
  }

  /** What metrics show. */
  readonly series = (): readonly CriticalViolation[] =>
    Array.from(this.#kept.values(), ({ id, rule, series }) => ({ id, rule, ...series }));

  /**
   * Those that earlier runs have found, as the API shows them; ids of VMs are of that run. Whether one has ended
   * since is not known, and does not matter.
   */
  readonly earlier = (): readonly EarlierViolation[] =>
    [...this.#kept.values()]
      .filter(({ id }) => this.#earlier.has(id))
      .map(({ series: _, ...violation }) => ({
        ...violation,
        ...{ severity: 'critical', state: 'happened', fromEarlierRun: true },
      }));

  /** What held the object when it was found stays in the labels: others would be another alert. */
  #stored(violation: Violation, at: number, known: StoredViolation | undefined): StoredViolation {
    const { view } = this.#options;
    const { id, rule, message, devices, ongoing } = violation;
    return {
      // Also leaves out what is undefined, as the file does.
      ...(JSON.parse(JSON.stringify(view(violation))) as object),
      ...{ id, rule, message, devices, kind: ongoing ? 'ongoing' : 'one-shot' },
      series: { ...criticalSeries(violation, at), ...known?.series, at },
    };
  }
}
