/**
 * Decides which points to detach because of what they cost, and when to attach them again
 * (docs/design/budget.md). It knows neither kernel nor clock: all times are those of the measurements.
 */
import type { PointName } from '../../src/events/points.ts';
import type { BudgetName, BudgetReport } from '../../src/events/source.ts';
import { SECOND } from '../../src/units.ts';
import type { Cost } from './cost-meter.ts';

export interface BudgetSettings {
  /** Limits as shares of one CPU, 0 for none. */
  readonly probes: number;
  readonly agent: number;
  /** For how long the cost is over a limit before something is detached, ns. */
  readonly detachAfter: number;
  /** For how long the cost is low before it is attached again, at first; ns. */
  readonly reattachAfter: number;
}

/** What this process cost. */
export interface AgentCost extends Cost {
  /** ns of CPU time; `points` has the records of each point instead. */
  readonly cpu: number;
}

/** What is to be done; `all` are the points that are not expendable, too. */
export interface Step extends Omit<BudgetReport, 'points' | 'lifecycle'> {
  readonly points: readonly PointName[] | 'all';
}

/** One measurement is no proof, however long it lasted. */
const FEWEST = 3;
/** A point with a smaller part of the cost is not worth detaching. */
const WORTH = 0.1;
/** Below this part of the limit the cost is low. */
const LOW = 0.5;
/** Records a second below which the CPU time of the agent has other causes, such as requests. */
const BUSY = 1000;
/** It may take so long until a sample shows that the cost is over a limit, ns. */
const NOTICED = 15 * SECOND;
/** The longest time to the next attempt, unless the first is longer; ns. */
const LONGEST = 4 * 3600 * SECOND;

/** How long a cost was over its limit lately, and what of it is due to each point. */
class Excess {
  readonly limit: number;
  readonly name: BudgetName;
  /** ns that the limit was exceeded, less what it was kept since. */
  lasted = 0;
  measurements = 0;
  /** Over `time` ns in which the limit was exceeded: ns of CPU time, and by point. */
  cost = 0;
  time = 0;
  readonly points = new Map<PointName, number>();
  /** The latest share of one CPU. */
  share = 0;
  /** It was reported that detaching points does not help. */
  isExhausted = false;

  constructor(name: BudgetName, limit: number) {
    this.name = name;
    this.limit = limit;
  }

  add({ from, to, points }: Cost, cost: number): void {
    const lasted = to - from;
    this.share = cost / lasted;
    if (this.share <= this.limit) {
      this.lasted -= lasted;
      if (this.lasted <= 0) this.reset();
      if (this.lasted <= 0) this.isExhausted = false;
      return;
    }
    this.lasted += lasted;
    this.measurements++;
    this.cost += cost;
    this.time += lasted;
    for (const [point, one] of points) this.points.set(point, (this.points.get(point) ?? 0) + one);
  }

  reset(): void {
    this.lasted = 0;
    this.measurements = 0;
    this.cost = 0;
    this.time = 0;
    this.points.clear();
  }

  get isLow(): boolean {
    return this.share <= this.limit * LOW;
  }
}

export class Budget {
  readonly #settings: BudgetSettings;
  readonly #expendable: ReadonlySet<PointName>;
  readonly #probes: Excess;
  readonly #agent: Excess;
  readonly #detached = new Set<PointName>();
  #isAllDetached = false;
  /** The budgets because of which something is detached. */
  readonly #causes = new Set<Excess>();
  /** Since when their costs are low. */
  #lowSince = 0;
  /** How often what was attached again had to be detached soon. */
  #failures = 0;
  #restoredAt = Number.NEGATIVE_INFINITY;
  #wait = 0;

  /** @param expendable points that may be detached alone */
  constructor(settings: BudgetSettings, expendable: Iterable<PointName>) {
    this.#settings = settings;
    this.#expendable = new Set(expendable);
    this.#probes = new Excess('probes', settings.probes);
    this.#agent = new Excess('agent', settings.agent);
  }

  /** What the programs cost. @returns what to do because of that */
  probes(cost: Cost): Step | undefined {
    if (this.#settings.probes === 0) return undefined;
    return this.#judge(this.#probes, cost, sum(cost.points));
  }

  /** What the process cost. @returns what to do because of that */
  agent(cost: AgentCost): Step | undefined {
    if (this.#settings.agent === 0) return undefined;
    return this.#judge(this.#agent, cost, cost.cpu);
  }

  /** Whether the programs are to be measured all the time. */
  get isClose(): boolean {
    return this.#probes.lasted > 0 || this.#probes.share > this.#probes.limit;
  }

  /** Limits and latest costs as shares of one CPU; exceeded also while points are detached for it. */
  states(): readonly {
    readonly budget: BudgetName;
    readonly limit: number;
    readonly used: number;
    readonly exceeded: boolean;
  }[] {
    return [this.#probes, this.#agent]
      .filter(({ limit }) => limit > 0)
      .map((one) => ({
        ...{ budget: one.name, limit: one.limit, used: one.share },
        exceeded: one.isExhausted || this.#causes.has(one),
      }));
  }

  #judge(excess: Excess, cost: Cost, spent: number): Step | undefined {
    if (cost.to <= cost.from) return undefined;
    excess.add(cost, spent);
    if (excess.lasted >= this.#settings.detachAfter && excess.measurements >= FEWEST) {
      return this.#exceeded(excess, cost.to);
    }
    return this.#restored(excess, cost.to);
  }

  #exceeded(excess: Excess, now: number): Step | undefined {
    const { name, limit, lasted } = excess;
    const points = this.#choice(excess);
    const used = excess.cost / excess.time;
    if (points) this.#detach(excess, points, now);
    const isKnown = excess.isExhausted;
    excess.isExhausted = points === undefined;
    excess.reset();
    // What did not help now may help in a moment, when the causes are others.
    if (!points) excess.lasted = this.#settings.detachAfter;
    if (!points && isKnown) return undefined;
    const base = { budget: name, used, limit, lasted, wait: this.#wait };
    return points
      ? { change: 'detached', points, ...base }
      : { change: 'exhausted', points: [], ...base };
  }

  /** @returns undefined where it would not help to detach anything */
  #choice({ name, points, time }: Excess): readonly PointName[] | 'all' | undefined {
    // Records of a point that is detached may wait in the ring for a long time.
    for (const point of this.#detached) points.delete(point);
    const total = sum(points);
    if (this.#isAllDetached || total === 0) return undefined;
    if (name === 'agent' && total / (time / SECOND) < BUSY) return undefined;
    let [most, at]: [number, PointName | undefined] = [total * WORTH, undefined];
    for (const [point, one] of points) {
      if (one < most || !this.#expendable.has(point)) continue;
      most = one;
      at = point;
    }
    return at ? [at] : 'all';
  }

  #detach(excess: Excess, points: readonly PointName[] | 'all', now: number): void {
    if (this.#causes.size === 0) {
      const { detachAfter } = this.#settings;
      const wasSoon = now - this.#restoredAt < this.#wait + detachAfter + NOTICED;
      this.#failures = wasSoon ? this.#failures + 1 : 0;
      const { reattachAfter } = this.#settings;
      this.#wait = Math.min(reattachAfter * 2 ** this.#failures, Math.max(reattachAfter, LONGEST));
    }
    this.#causes.add(excess);
    this.#lowSince = now;
    if (points === 'all') this.#isAllDetached = true;
    else for (const point of points) this.#detached.add(point);
  }

  #restored(excess: Excess, now: number): Step | undefined {
    if (!this.#causes.has(excess)) return undefined;
    if (!excess.isLow) this.#lowSince = now;
    const lasted = now - this.#lowSince;
    if (lasted < this.#wait) return undefined;
    const points = this.#isAllDetached ? 'all' : [...this.#detached];
    this.#isAllDetached = false;
    this.#detached.clear();
    this.#causes.clear();
    this.#restoredAt = now;
    const { name: budget, share: used, limit } = excess;
    return { change: 'restored', points, budget, used, limit, lasted, wait: this.#wait };
  }
}

function sum(costs: ReadonlyMap<PointName, number>): number {
  let total = 0;
  for (const cost of costs.values()) total += cost;
  return total;
}
