/** The points that are watched, as log lines: each module once, and again when it changes. */
import type { Logger } from 'pino';
import type { Sink } from '../engine/sink.ts';
import { isWatched, type PointState } from '../events/source.ts';

export class ProbeLog implements Sink {
  readonly #log: Logger;
  /** The state that was last logged of each module. */
  readonly #logged = new Map<string, string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  readonly coverage = (points: readonly PointState[]): void => {
    for (const module of new Set(points.map((point) => point.module))) {
      const own = points.filter((point) => point.module === module);
      const state = own.map((point) => point.state + (point.reason ?? '')).join();
      if (this.#logged.get(module) === state) continue;
      this.#logged.set(module, state);
      this.#logModule(module, own);
    }
  };

  #logModule(module: string, points: readonly PointState[]): void {
    const watched = points.filter(isWatched);
    const failed = points.filter(({ state }) => state === 'failed');
    const isWaiting = points.some(({ state }) => state === 'waiting');
    if (watched.length > 0) {
      this.#log.info(
        { event: 'probes.attached', module, attached: watched.length },
        `watching ${watched.length} of ${points.length} points of the module ${module}`,
      );
    } else if (failed.length === 0 && isWaiting) {
      this.#log.info(
        { event: 'probes.waiting', module },
        `not watching ${module} yet: the module is not loaded; probes are attached when it is`,
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
