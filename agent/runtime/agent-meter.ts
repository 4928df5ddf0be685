/** Measures the CPU time of this process, and which points the records are of that it reads meanwhile. */
import { POINT_NAMES, POINTS, type PointName } from '../../src/events/points.ts';
import type { AgentCost } from './budget.ts';

/** ns in a microsecond, in which Node counts CPU time. */
const MICROSECOND = 1000;

/** Microseconds of CPU time of this process. */
interface CpuUsage {
  readonly user: number;
  readonly system: number;
}

interface Reading {
  /** ns on the boot-time clock, before the rest was read. */
  readonly before: number;
  /** ns of CPU time since the process began. */
  readonly cpu: number;
  readonly records: Float64Array;
}

export class AgentMeter {
  readonly #clock: () => number;
  readonly #records: Float64Array;
  readonly #usage: () => CpuUsage;
  #last: Reading;

  /** @param clock ns on the boot-time clock @param records that were read, by number of the point */
  constructor(
    clock: () => number,
    records: Float64Array,
    usage: () => CpuUsage = () => process.cpuUsage(),
  ) {
    this.#clock = clock;
    this.#records = records;
    this.#usage = usage;
    this.#last = this.#read();
  }

  /** @returns what was used since the last call */
  tick(): AgentCost {
    const last = this.#last;
    const now = this.#read();
    this.#last = now;
    const points = new Map<PointName, number>();
    for (const name of POINT_NAMES) {
      const count = now.records[POINTS[name]] - last.records[POINTS[name]];
      if (count > 0) points.set(name, count);
    }
    // The span is no shorter than the one that was measured, however long this process did not run.
    return { from: last.before, to: this.#clock(), cpu: now.cpu - last.cpu, points };
  }

  #read(): Reading {
    const before = this.#clock();
    const { user, system } = this.#usage();
    return { before, cpu: (user + system) * MICROSECOND, records: this.#records.slice() };
  }
}
