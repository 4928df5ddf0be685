/** Measures what probes and agent cost, and finds what the budget makes of it. */
import type { PointName } from '../../src/events/points.ts';
import type { BudgetReport } from '../../src/events/source.ts';
import { PROBE_TABLE } from '../../src/kernel/probe-table.ts';
import type { Probes } from '../../src/kernel/probes.ts';
import { RunTimeStatistics } from '../../src/kernel/run-time-statistics.ts';
import { SECOND } from '../../src/units.ts';
import type { Config } from '../config/schema.ts';
import { AgentMeter } from './agent-meter.ts';
import { Budget, type BudgetSettings, type Step } from './budget.ts';
import { CostMeter } from './cost-meter.ts';

/** What is known of the costs. */
export interface Costs {
  /** ns for which the programs of each point have run since the start, extrapolated from samples. */
  readonly runTimes: ReadonlyMap<PointName, number>;
  /** Points that were detached at least once. */
  readonly everDetached: ReadonlySet<PointName>;
  readonly budgets: ReturnType<Budget['states']>;
}

export class CostControl {
  readonly #budget: Budget;
  /** Undefined where the run time is not limited. */
  readonly #probes: CostMeter | undefined;
  readonly #agent: AgentMeter;
  readonly #everDetached = new Set<PointName>();
  /** What was reported of why nothing can be measured. */
  #reported: string | undefined;

  /** @param clock ns on the boot-time clock @param records of each point, by its number */
  constructor(
    settings: BudgetSettings,
    probes: Pick<Probes, 'runTimes'>,
    clock: () => number,
    records: Float64Array,
  ) {
    const expendable = PROBE_TABLE.filter((entry) => entry.expendable).map(({ point }) => point);
    this.#budget = new Budget(settings, expendable);
    const statistics = new RunTimeStatistics();
    const runTimes = {
      enable: () => statistics.enable(),
      disable: () => statistics.disable(),
      read: () => probes.runTimes(),
    };
    this.#probes = settings.probes > 0 ? new CostMeter(runTimes, clock) : undefined;
    this.#agent = new AgentMeter(clock, records);
  }

  /** To be called about once a second. */
  tick(): readonly Step[] {
    const probes = this.#probes?.tick(this.#budget.isClose);
    const agent = this.#agent.tick();
    const steps = [
      this.#problem(),
      probes && this.#budget.probes(probes),
      agent && this.#budget.agent(agent),
    ];
    const found = steps.filter((step) => step !== undefined);
    for (const step of found) {
      if (step.change === 'detached') for (const one of pointsOf(step)) this.#everDetached.add(one);
    }
    return found;
  }

  /** Why nothing can be measured, once. */
  #problem(): Step | undefined {
    const reason = this.#probes?.problem;
    const isNew = reason !== undefined && this.#reported === undefined;
    this.#reported ??= reason;
    if (!isNew) return undefined;
    const [state] = this.#budget.states();
    const none = { points: [], used: 0, lasted: 0, wait: 0 };
    return { change: 'unmeasured', budget: 'probes', limit: state.limit, reason, ...none };
  }

  get costs(): Costs {
    return {
      runTimes: this.#probes?.totals ?? new Map(),
      everDetached: this.#everDetached,
      budgets: this.#budget.states(),
    };
  }

  close(): void {
    this.#probes?.close();
  }
}

/** Translates settings; undefined where nothing is limited. */
export function budgetSettings({ budget }: Pick<Config, 'budget'>): BudgetSettings | undefined {
  const { enabled, probes_percent, agent_percent, detach_after_seconds, reattach_after_seconds } =
    budget;
  if (!enabled || (probes_percent === 0 && agent_percent === 0)) return undefined;
  return {
    ...{ probes: probes_percent / 100, agent: agent_percent / 100 },
    ...{
      detachAfter: detach_after_seconds * SECOND,
      reattachAfter: reattach_after_seconds * SECOND,
    },
  };
}

/** The points of a step by name. */
export function pointsOf({ points }: Step): readonly PointName[] {
  return points === 'all' ? PROBE_TABLE.map(({ point }) => point) : points;
}

/** Why a point is detached, for its status. */
export function detachReason({
  budget,
  used,
  limit,
}: Pick<BudgetReport, 'budget' | 'used' | 'limit'>): string {
  const who = budget === 'probes' ? 'the probes' : 'the agent';
  return `detached: over budget (${who} took ${percent(used)} of one CPU, budget.${budget}_percent is ${percent(limit)})`;
}

/** A share in percent, with three digits. */
export function inPercent(share: number): number {
  return Number((share * 100).toPrecision(3));
}

/** A share of one CPU in words. */
export function percent(share: number): string {
  return `${inPercent(share)} %`;
}
