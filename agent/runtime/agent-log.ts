/** Log lines about the agent itself: lost events, host snapshots, failing rules. */
import type { Logger } from 'pino';
import type { Rule } from '../../src/engine/rule.ts';
import type { Sink } from '../../src/engine/sink.ts';
import type { LossReason, SnapshotReport } from '../../src/events/source.ts';
import type { World } from '../../src/lifecycle/world.ts';

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
