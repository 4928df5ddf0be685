/** What is watched, as log lines: each module once, and again when it changes. */
import type { Logger } from 'pino';
import { isWatched, type PointState } from '../events/source.ts';

export class ProbeLog {
  readonly #log: Logger;
  /** What was last said of each module. */
  readonly #told = new Map<string, string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  readonly tell = (points: readonly PointState[]): void => {
    for (const module of new Set(points.map((point) => point.module))) {
      const own = points.filter((point) => point.module === module);
      const state = own.map((point) => point.state + (point.reason ?? '')).join();
      if (this.#told.get(module) === state) continue;
      this.#told.set(module, state);
      this.#tellModule(module, own);
    }
  };

  #tellModule(module: string, points: readonly PointState[]): void {
    const seen = points.filter(isWatched);
    const failed = points.filter(({ state }) => state === 'failed');
    if (seen.length > 0) {
      this.#log.info(
        { event: 'probes.attached', module, attached: seen.length },
        `watching ${module}: ${seen.length} of ${points.length} points`,
      );
    } else if (failed.length === 0) {
      this.#log.info(
        { event: 'probes.waiting', module },
        `waiting for the module ${module} to be loaded`,
      );
    }
    for (const reason of new Set(failed.map((point) => point.reason))) {
      const names = failed.filter((point) => point.reason === reason).map(({ point }) => point);
      this.#log.warn(
        { event: 'probes.failed', module, points: names, reason },
        `cannot watch ${names.join(', ')}: ${reason}`,
      );
    }
  }
}
