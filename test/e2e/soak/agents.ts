// SPDX-License-Identifier: Apache-2.0
/** Agents that observe a load, and what they reported about it. */

import type { Vm } from '../../lab/lab.ts';
import { AgentInVm, type LogLine } from '../agent.ts';
import { linesPerDevice, type OfDevices, perDevice } from '../per-device.ts';
import { severityWhenRaised } from '../severity.ts';
import { type Expected, type LoadResult, TRUE_VIOLATIONS } from './expected.ts';
import type { LoadName } from './loads.ts';

/** Longer than rules wait for a state to settle, s. */
const GRACE = 3;

const LOSS = /^vfioscope_(events_lost|probe_missed|ring_dropped)_total/;

/** What agents reported about one load. */
export interface Account {
  /** Records of calls, without those of host snapshots. */
  events: number;
  /** Devices that were registered. */
  devices: number;
  vms: number;
  violations: Record<string, number>;
  /** Failures: false violations, missing true ones, missed devices, lost events. */
  wrong: number;
}

/** The results of the soak on one kernel. */
export interface Campaign {
  /** As `uname -r` prints it. */
  readonly release: string;
  /** The share of it that was run, from 0 to 1. */
  readonly share: number;
  readonly loads: Partial<Record<LoadName, Account>>;
}

export function campaignFile(kernel: string): URL {
  return new URL(`${kernel}.json`, import.meta.url);
}

export type Counts = Pick<Account, 'events' | 'devices' | 'vms'>;

const NO_COUNTS: Counts = { events: 0, devices: 0, vms: 0 };

/** Several agents, one after the other, whose counts are added up. */
export class AgentSeries {
  readonly #vm: Vm;
  readonly #flags: readonly string[];
  #agent: AgentInVm | undefined;
  /** The sum for agents that have ended. */
  #counts = NO_COUNTS;
  readonly #raised: LogLine[] = [];

  constructor(vm: Vm, ...flags: readonly string[]) {
    this.#vm = vm;
    this.#flags = flags;
  }

  get current(): AgentInVm {
    if (!this.#agent) throw new Error('no agent runs');
    return this.#agent;
  }

  async start(): Promise<void> {
    this.#agent = await AgentInVm.start(this.#vm, ...this.#flags);
  }

  async stop(): Promise<void> {
    await this.#keepCounts();
    await this.current.stop();
    this.#keepRaised();
  }

  async kill(): Promise<void> {
    await this.#keepCounts();
    this.current.process.signal('SIGKILL');
    await this.current.process.exit;
    this.#keepRaised();
  }

  async #keepCounts(): Promise<void> {
    this.#counts = sum(this.#counts, await countsOf(this.current));
    const { current: agent } = this;
    await agent.until('its log has every violation', async () => {
      const { violations } = await agent.api<{ violations: OfDevices[] }>('/api/v1/violations');
      return perDevice(violations).length <= raisedBy(agent).length;
    });
  }

  #keepRaised(): void {
    this.#raised.push(...raisedBy(this.current));
    this.#agent = undefined;
  }

  /** The counts of all agents so far. */
  async counts(): Promise<Counts> {
    return this.#agent ? sum(this.#counts, await countsOf(this.#agent)) : this.#counts;
  }

  /** The violations that all agents so far have raised. */
  raised(): readonly LogLine[] {
    return this.#agent ? [...this.#raised, ...raisedBy(this.#agent)] : this.#raised;
  }

  /** Loss metrics that are not 0. */
  async losses(): Promise<string[]> {
    if (!this.#agent) return [];
    const text = await (await fetch(`${this.#agent.url}/metrics`)).text();
    return text.split('\n').filter((line) => LOSS.test(line) && !line.endsWith(' 0'));
  }

  /** Waits until all events are processed, all devices and VMs have ended, and no rule waits for a state to settle. */
  async settle(): Promise<void> {
    let rest: readonly string[] = [];
    const isOver = async () => {
      rest = await this.#rest();
      return rest.length === 0;
    };
    await this.current.until('all is processed and has ended', isOver).catch((error: unknown) => {
      throw new Error(`not ended: ${rest.join('; ')}`, { cause: error });
    });
    await this.current.evaluated(GRACE);
  }

  /** What has not ended yet. */
  async #rest(): Promise<string[]> {
    const { current: agent } = this;
    const metrics = ['vfioscope_ring_backlog_bytes', 'vfioscope_state_unverified'];
    const values = await Promise.all(metrics.map((name) => agent.metric(name)));
    const devices = [...(await agent.devices()), ...(await agent.vms())];
    return [
      ...metrics.filter((_, i) => values[i] !== 0),
      ...devices.map((object) => JSON.stringify(object)),
    ];
  }
}

/** Runs a load while agents observe it. @returns what they reported, and everything that is wrong with it */
export async function during(
  agents: AgentSeries,
  load: () => Promise<LoadResult>,
): Promise<{ account: Account; wrong: string[] }> {
  const before = await agents.counts();
  const raisedBefore = agents.raised().length;
  const lossesBefore = await agents.losses();
  const { expected, devices, mayBeMissed = false } = await load();
  await agents.settle();
  const raised = agents.raised().slice(raisedBefore);
  const after = await agents.counts();
  const account: Account = {
    events: after.events - before.events,
    devices: after.devices - before.devices,
    vms: after.vms - before.vms,
    violations: {},
    wrong: 0,
  };
  for (const { rule } of raised) {
    account.violations[`${rule}`] = (account.violations[`${rule}`] ?? 0) + 1;
  }
  const lost = mayBeMissed
    ? []
    : (await agents.losses()).filter((loss) => !lossesBefore.includes(loss));
  const unobserved =
    devices === undefined || devices === account.devices
      ? []
      : [`${account.devices} devices were observed of ${devices} that existed`];
  const wrong = [...lost, ...unobserved, ...differences(raised, expected, mayBeMissed)];
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
        one.rule === rule &&
        one.device === device &&
        TRUE_VIOLATIONS[one.rule].severity === severityWhenRaised(rule, severity),
    );
    if (at >= 0 && !rest[at]?.mayRepeat) rest.splice(at, 1);
    return at < 0;
  });
  return [
    ...unexpected.map(({ rule, severity, device = 'no device', message, evidence }) =>
      [`${rule} (${severity}) of ${device}: ${message}`, ...(evidence as string[])].join('\n    '),
    ),
    ...rest
      .filter((one) => !mayBeMissed && !one.mayBeMissed)
      .map(({ rule, device }) => `no ${rule} of ${device}`),
  ];
}

function raisedBy(agent: AgentInVm): LogLine[] {
  return linesPerDevice(agent.lines);
}

async function countsOf(agent: AgentInVm): Promise<Counts> {
  const count = (point: string) => agent.metric(`vfioscope_events_total${point}`);
  const ends = (point: string) => count(`{point="${point}",phase="end"}`);
  return {
    events: (await count('')) - (await count('{point="snapshot.')),
    devices: (await ends('vfio.register')) + (await ends('vfio.register_emulated')),
    vms: await ends('kvm.vm.destroy'),
  };
}

function sum(a: Counts, b: Counts): Counts {
  return { events: a.events + b.events, devices: a.devices + b.devices, vms: a.vms + b.vms };
}
