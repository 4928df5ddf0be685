// SPDX-License-Identifier: Apache-2.0
/** Agents that watch a load, and what they made of it. */
import assert from 'node:assert/strict';
import { setTimeout as later } from 'node:timers/promises';
import type { Vm } from '../../lab/lab.ts';
import { AgentInVm, type LogLine } from '../agent.ts';
import { type Done, type Expected, TRUE_FINDINGS } from './expected.ts';
import type { LoadName } from './loads.ts';

/** Rules wait for states to settle, in ms; then they have said what they have to say. */
const GRACE = 2500;

const LOSS = /^vfioscope_(events_lost|probe_missed|ring_dropped)_total/;

/** What agents saw of one load. */
export interface Account {
  /** Records of calls, without those of a look at the host. */
  events: number;
  /** Devices that were registered. */
  lives: number;
  vms: number;
  violations: Record<string, number>;
  /** What was wrong: findings that are not true, true ones that are missing, events that were lost. */
  wrong: number;
}

/** What the campaign left on one kernel. */
export interface Campaign {
  /** As uname tells it. */
  readonly release: string;
  /** How much of it was run, from 0 to 1. */
  readonly share: number;
  readonly loads: Partial<Record<LoadName, Account>>;
}

export function campaignFile(kernel: string): URL {
  return new URL(`${kernel}.json`, import.meta.url);
}

export type Counts = Pick<Account, 'events' | 'lives' | 'vms'>;

const NO_COUNTS: Counts = { events: 0, lives: 0, vms: 0 };

/** Several agents, one after the other, that count as one. */
export class Watch {
  readonly #vm: Vm;
  readonly #flags: readonly string[];
  #agent: AgentInVm | undefined;
  /** Of agents that have ended. */
  #counts = NO_COUNTS;
  readonly #raised: LogLine[] = [];

  constructor(vm: Vm, ...flags: readonly string[]) {
    this.#vm = vm;
    this.#flags = flags;
  }

  get agent(): AgentInVm {
    if (!this.#agent) throw new Error('no agent runs');
    return this.#agent;
  }

  async start(): Promise<void> {
    this.#agent = await AgentInVm.start(this.#vm, ...this.#flags);
  }

  async stop(): Promise<void> {
    await this.#keepCounts();
    await this.agent.stop();
    this.#keepRaised();
  }

  async kill(): Promise<void> {
    await this.#keepCounts();
    this.agent.process.signal('SIGKILL');
    await this.agent.process.exit;
    this.#keepRaised();
  }

  async #keepCounts(): Promise<void> {
    this.#counts = sum(this.#counts, await countsOf(this.agent));
    const told = raisedBy(this.agent).length;
    const { agent } = this;
    await agent.until('its log has every violation', async () => {
      return (await agent.metric('vfioscope_violations_total')) <= raisedBy(agent).length;
    });
    assert.equal(await agent.metric('vfioscope_log_lines_dropped_total'), 0, `${told} told`);
  }

  #keepRaised(): void {
    this.#raised.push(...raisedBy(this.agent));
    this.#agent = undefined;
  }

  /** What all agents so far have seen. */
  async counts(): Promise<Counts> {
    return this.#agent ? sum(this.#counts, await countsOf(this.#agent)) : this.#counts;
  }

  /** What all agents so far have raised. */
  raised(): readonly LogLine[] {
    return this.#agent ? [...this.#raised, ...raisedBy(this.#agent)] : this.#raised;
  }

  /** Series of losses that are not 0. */
  async losses(): Promise<string[]> {
    if (!this.#agent) return [];
    const text = await (await fetch(`${this.#agent.url}/metrics`)).text();
    return text.split('\n').filter((line) => LOSS.test(line) && !line.endsWith(' 0'));
  }

  /** Waits until all is taken in, all lives are over, and no rule waits for anything. */
  async settle(): Promise<void> {
    let rest: readonly string[] = [];
    const isOver = async () => {
      rest = await this.#rest();
      return rest.length === 0;
    };
    await this.agent.until('all is taken in and over', isOver).catch((error: unknown) => {
      throw new Error(`there is still: ${rest.join('; ')}`, { cause: error });
    });
    await later(GRACE);
  }

  /** What is not over yet. */
  async #rest(): Promise<string[]> {
    const { agent } = this;
    const metrics = ['vfioscope_ring_backlog_bytes', 'vfioscope_state_tainted'];
    const values = await Promise.all(metrics.map((name) => agent.metric(name)));
    const lives = [...(await agent.devices()), ...(await agent.vms())];
    return [
      ...metrics.filter((_, i) => values[i] !== 0),
      ...lives.map((life) => JSON.stringify(life)),
    ];
  }
}

/** Lets a load go on under the eyes of an agent, and says what the agent made of it. */
export async function during(
  watch: Watch,
  load: () => Promise<Done>,
): Promise<{ account: Account; wrong: string[] }> {
  const before = await watch.counts();
  const raisedBefore = watch.raised().length;
  const lossesBefore = await watch.losses();
  const { expected, lives, mayBeMissed = false } = await load();
  await watch.settle();
  const raised = watch.raised().slice(raisedBefore);
  const after = await watch.counts();
  const account: Account = {
    events: after.events - before.events,
    lives: after.lives - before.lives,
    vms: after.vms - before.vms,
    violations: {},
    wrong: 0,
  };
  for (const { rule } of raised) {
    account.violations[`${rule}`] = (account.violations[`${rule}`] ?? 0) + 1;
  }
  const lost = mayBeMissed
    ? []
    : (await watch.losses()).filter((loss) => !lossesBefore.includes(loss));
  const unseen =
    lives === undefined || lives === account.lives
      ? []
      : [`${account.lives} devices were seen of ${lives} that lived`];
  const wrong = [...lost, ...unseen, ...differences(raised, expected, mayBeMissed)];
  return { account: { ...account, wrong: wrong.length }, wrong };
}

function differences(
  raised: readonly LogLine[],
  expected: readonly Expected[],
  mayBeMissed: boolean,
): string[] {
  const rest = [...expected];
  const unexpected = raised.filter(({ rule, severity, device }) => {
    const at = rest.findIndex(
      (one) =>
        one.rule === rule && one.device === device && TRUE_FINDINGS[one.rule].severity === severity,
    );
    if (at >= 0 && !rest[at]?.mayRepeat) rest.splice(at, 1);
    return at < 0;
  });
  return [
    ...unexpected.map(({ rule, severity, device = 'no device', explanation, evidence }) =>
      [`${rule} (${severity}) of ${device}: ${explanation}`, ...(evidence as string[])].join(
        '\n    ',
      ),
    ),
    ...(mayBeMissed ? [] : rest.map(({ rule, device }) => `no ${rule} of ${device}`)),
  ];
}

function raisedBy(agent: AgentInVm): LogLine[] {
  return agent.lines.filter(({ event }) => event === 'violation.raised');
}

async function countsOf(agent: AgentInVm): Promise<Counts> {
  const count = (point: string) => agent.metric(`vfioscope_events_total${point}`);
  const ends = (point: string) => count(`{point="${point}",phase="end"}`);
  return {
    events: (await count('')) - (await count('{point="seen.')),
    lives: (await ends('vfio.register')) + (await ends('vfio.register_emulated')),
    vms: await ends('kvm.vm.destroy'),
  };
}

function sum(a: Counts, b: Counts): Counts {
  return { events: a.events + b.events, lives: a.lives + b.lives, vms: a.vms + b.vms };
}
