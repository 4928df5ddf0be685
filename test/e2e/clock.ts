// SPDX-License-Identifier: Apache-2.0
/** How far an agent has processed events and evaluated its rules, by its own clock. */

import { SECOND } from '../../src/units.ts';
import type { Vm } from '../lab/lab.ts';
import { until } from '../until.ts';

/** Something with an agent's API. */
interface AgentApi {
  api<T>(path: string): Promise<T>;
}

/** The resolution of /proc/uptime, ns. */
const GRAIN = 1e7;

/** The time up to which an agent has evaluated its rules; ns on the boot-time clock of its VM, 0 if never. */
export async function evaluatedUntil(agent: AgentApi): Promise<number> {
  const { evaluatedUntil } = await agent.api<{ evaluatedUntil?: { ns: number } }>('/api/v1/probes');
  return evaluatedUntil?.ns ?? 0;
}

/** The boot-time clock of a VM, not before now; ns. */
export async function bootTimeOf(vm: Vm): Promise<number> {
  const [seconds] = (await vm.sh('cat /proc/uptime')).split(' ');
  return Number(seconds) * SECOND + GRAIN;
}

/**
 * Waits until an agent has processed all that happened in its VM so far, and has evaluated its rules
 * so many seconds later. What it has not reported by then, it does not report.
 */
export async function untilEvaluated(vm: Vm, agent: AgentApi, seconds = 0): Promise<void> {
  const wanted = (await bootTimeOf(vm)) + seconds * SECOND;
  let reached = 0;
  const isReached = async () => {
    reached = await evaluatedUntil(agent);
    return reached >= wanted;
  };
  await until(`rules are evaluated at ${wanted} ns`, isReached, {
    more: () => `; they were at ${reached} ns`,
  });
}

/** Waits until an agent has evaluated its rules so many times more. */
export async function untilTicks(agent: AgentApi, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const before = await evaluatedUntil(agent);
    await until('rules are evaluated again', async () => (await evaluatedUntil(agent)) > before);
  }
}
