/**
 * Measures how long the programs of each point run in the kernel. The kernel counts that only in samples of
 * about a second, because the counting costs time at each run of every BPF program of the host, unless it is
 * to watch closely. All times are the kernel's: a tick that comes late makes a longer sample, no larger share.
 */
import type { PointName } from '../../src/events/points.ts';
import type { RunTime } from '../../src/kernel/attach.ts';
import { SECOND } from '../../src/units.ts';

/** The least time that a sample lasts, ns: ticks after a delay follow each other at once. */
const SHORTEST = 0.5 * SECOND;
/** From the begin of a sample to that of the next, ns. */
const PERIOD = 10 * SECOND;

/** What costs time in the kernel, and what counts it. */
export interface RunTimes {
  /** Makes the kernel count. @returns why it does not, in words */
  enable(): string | undefined;
  disable(): void;
  /** Counts of the programs of each attached point. */
  read(): ReadonlyMap<PointName, RunTime>;
}

/** What the points cost in a span of time that is never shorter than the one in which it was counted. */
export interface Cost {
  /** ns on the boot-time clock. */
  readonly from: number;
  readonly to: number;
  /** ns of CPU time, or what else is to be compared with each other, by point. */
  readonly points: ReadonlyMap<PointName, number>;
}

interface Reading {
  readonly before: number;
  readonly after: number;
  readonly counts: ReadonlyMap<PointName, RunTime>;
}

export class CostMeter {
  readonly #source: RunTimes;
  readonly #clock: () => number;
  /** The latest reading of a sample that is not over. */
  #reading: Reading | undefined;
  /** When the latest sample began and ended. */
  #began = Number.NEGATIVE_INFINITY;
  #ended: number;
  /** ns of run time since the start, by point: what was not measured is taken to have cost the same. */
  readonly totals = new Map<PointName, number>();
  /** Why nothing can be measured, in words. */
  problem: string | undefined;

  /** @param clock ns on the boot-time clock */
  constructor(source: RunTimes, clock: () => number) {
    this.#source = source;
    this.#clock = clock;
    this.#ended = clock();
  }

  /**
   * To be called about once a second.
   * @param closely whether to measure all the time
   * @returns what was measured since the last call, if it is enough to judge
   */
  tick(closely: boolean): Cost | undefined {
    const last = this.#reading;
    if (!last) {
      if (closely || this.#clock() - this.#began >= PERIOD) this.#begin();
      return undefined;
    }
    if (this.#clock() - last.after < SHORTEST) return undefined;
    const now = this.#read(this.#clock());
    const cost = { from: last.before, to: now.after, points: difference(last, now) };
    this.#count(cost);
    this.#reading = closely ? now : undefined;
    if (!closely) this.#source.disable();
    return cost;
  }

  close(): void {
    this.#reading = undefined;
    this.#source.disable();
  }

  #begin(): void {
    const before = this.#clock();
    this.problem = this.#source.enable();
    this.#began = before;
    if (this.problem === undefined) this.#reading = this.#read(before);
  }

  #read(before: number): Reading {
    const counts = this.#source.read();
    return { before, counts, after: this.#clock() };
  }

  #count({ from, to, points }: Cost): void {
    const stretch = Math.max(1, (to - this.#ended) / (to - from));
    for (const [point, time] of points) {
      this.totals.set(point, (this.totals.get(point) ?? 0) + time * stretch);
    }
    this.#ended = to;
  }
}

/** A program that was attached meanwhile has counted from 0. */
function difference(last: Reading, now: Reading): Map<PointName, number> {
  const costs = new Map<PointName, number>();
  for (const [point, { time }] of now.counts) {
    const before = last.counts.get(point)?.time ?? 0;
    costs.set(point, time >= before ? time - before : time);
  }
  return costs;
}
