/** Log lines about the agent itself: lost events, host snapshots, failing rules. */
import type { Logger } from 'pino';
import type { Rule } from '../../src/engine/rule.ts';
import type { Sink } from '../../src/engine/sink.ts';
import type { BudgetReport, LossReason, SnapshotReport } from '../../src/events/source.ts';
import type { World } from '../../src/lifecycle/world.ts';
import { SECOND } from '../../src/units.ts';
import { inPercent, percent } from './cost-control.ts';

export interface AgentLogOptions {
  readonly world: Pick<World, 'parents' | 'devices' | 'vms'>;
  /** The setting ring.bytes. */
  readonly ringBytes: number;
}

export class AgentLog implements Sink {
  readonly #log: Logger;
  readonly #options: AgentLogOptions;
  /** Rules whose error was logged. */
  readonly #failedRules = new Set<string>();
  /** Lost events since the last line about them. */
  readonly #lost = new Map<LossReason, number>();

  constructor(log: Logger, options: AgentLogOptions) {
    this.#log = log;
    this.#options = options;
  }

  loss(reason: LossReason, count: number): void {
    this.#lost.set(reason, (this.#lost.get(reason) ?? 0) + count);
  }

  /** At most one line about lost events per tick, with their sum. */
  tick(): void {
    if (this.#lost.size === 0) return;
    const lost = Object.fromEntries(this.#lost);
    const counts = [...this.#lost].map(([reason, count]) => `${count} (${reason})`);
    const hint = this.#lost.has('ring_full')
      ? ` If the ring is often full, raise ring.bytes above ${this.#options.ringBytes}.`
      : '';
    this.#lost.clear();
    this.#log.warn(
      { event: 'events.lost', lost },
      `lost events: ${counts.join(', ')}. Live objects are unverified, and findings that depend on their ` +
        `history are suppressed, until a host snapshot has resynchronised the state.${hint}`,
    );
  }

  end(): void {
    this.tick();
  }

  snapshot({ reason, lasted, problems }: SnapshotReport): void {
    const { parents, devices, vms } = this.#options.world;
    const known = { parents: parents.size, devices: devices.size, vms: vms.size };
    const counts = Object.entries(known).map(([what, size]) => `${size} ${what}`);
    this.#log[reason === 'recheck' ? 'debug' : 'info'](
      { event: 'snapshot.done', reason, ...known, durationNs: lasted },
      `host snapshot (reason=${reason}) took ${(lasted / 1e6).toFixed(0)} ms: ${counts.join(', ')}`,
    );
    for (const { code, message, next } of problems) {
      this.#log.warn(
        { event: 'snapshot.incomplete', reason, code, next },
        `host snapshot incomplete: ${message}; what to do: ${next}`,
      );
    }
  }

  budget(report: BudgetReport, inactive: readonly string[]): void {
    const { change, budget, points, used, limit, lasted, wait, reason } = report;
    if (change === 'unmeasured') {
      this.#log.warn(
        { event: 'budget.unmeasured', reason },
        `what the probes cost is not known, and budget.probes_percent has no effect: ${reason}`,
      );
      return;
    }
    const fields = {
      ...{ budget, points, usedPercent: inPercent(used), limitPercent: inPercent(limit) },
      ...{ durationNs: lasted, waitNs: wait, rules: inactive },
    };
    const setting = `budget.${budget}_percent`;
    const cost =
      `${budget === 'probes' ? 'the probes' : 'the agent'} took ${percent(used)} of one CPU for ` +
      `${seconds(lasted)}, more than ${setting} allows (${percent(limit)})`;
    if (change === 'restored') {
      this.#log.warn(
        { event: 'budget.restored', ...fields },
        `attached ${points.join(', ')} again: the cost was below half of ${setting} for ` +
          `${seconds(lasted)}. Rules that need these points are active; objects of the time ` +
          'before are left out by those that depend on history.',
      );
    } else if (change === 'detached') {
      const rules = inactive.length > 0 ? inactive.join(', ') : 'none';
      this.#log.error(
        { event: 'budget.detached', ...fields },
        `over budget: ${cost}. Detached ${points.join(', ')}. Inactive rules: ${rules}. They are attached ` +
          `again once the cost was below half of the budget for ${seconds(wait)}.`,
      );
    } else {
      this.#log.warn(
        { event: 'budget.exhausted', ...fields },
        `over budget: ${cost}. Detaching probes would not lower it, so nothing is detached.`,
      );
    }
  }

  /** Once per rule: one that fails will fail again. */
  ruleError({ id }: Rule, error: unknown): void {
    if (this.#failedRules.has(id)) return;
    this.#failedRules.add(id);
    this.#log.error(
      { event: 'rule.error', rule: id, error },
      `the rule ${id} failed and may miss violations. This is a bug: please report it.`,
    );
  }
}

function seconds(time: number): string {
  return `${Math.round(time / SECOND)} s`;
}
