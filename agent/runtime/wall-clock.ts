/** Translates times on the boot-time clock to wall-clock time. */
import { bootTime, wallOffset } from '../../src/kernel/os.ts';
import { SECOND } from '../../src/units.ts';

/** How far two comparisons of the clocks may differ although nobody has set one: the reader was preempted, ns. */
const NOISE = 0.05 * SECOND;

/** How many times the clock may be set before the earliest is forgotten. */
const MOST_STEPS = 100;

/** What the wall clock shows after some time. */
interface Step {
  /** ns on the boot-time clock; what was then dated by the step before is not in this one. */
  readonly since: number;
  /** ns from 1970 to the boot of the host. */
  readonly offset: number;
}

export interface Clocks {
  /** ns on the boot-time clock. */
  bootTime(): number;
  /** ns from 1970 to the boot of the host, as the wall clock shows it now. */
  wallOffset(): number;
}

/**
 * Dates each event by the wall clock at the time of the event: when somebody sets the clock, what was logged
 * and traced before keeps its date.
 */
export class WallClock {
  readonly #clocks: Clocks;
  /** In the order of time, at least one. */
  readonly #steps: Step[];
  /** When the clocks were last compared, ns on the boot-time clock. */
  #comparedAt: number;

  constructor(clocks: Clocks = { bootTime, wallOffset }) {
    this.#clocks = clocks;
    this.#comparedAt = clocks.bootTime();
    this.#steps = [{ since: 0, offset: clocks.wallOffset() }];
  }

  /**
   * ns from 1970 to the boot of the host, by the wall clock as it was at some time.
   * @param at ns on the boot-time clock
   */
  readonly offset = (at: number): number => {
    if (at > this.#comparedAt) this.update();
    let i = this.#steps.length - 1;
    while (i > 0 && this.#steps[i].since >= at) i--;
    return this.#steps[i].offset;
  };

  /** @param at ns on the boot-time clock @returns seconds since 1970 */
  readonly sinceEpoch = (at: number): number => (at + this.offset(at)) / SECOND;

  /**
   * Compares the clocks. If one was set since the last time, that holds from the last time on: events are
   * dated soon after they happen, so what was dated already is from before.
   */
  update(): void {
    const now = this.#clocks.bootTime();
    const offset = this.#clocks.wallOffset();
    const latest = this.#steps[this.#steps.length - 1];
    if (Math.abs(offset - latest.offset) > NOISE) {
      this.#steps.push({ since: this.#comparedAt, offset });
      if (this.#steps.length > MOST_STEPS) this.#steps.shift();
    }
    this.#comparedAt = now;
  }
}
