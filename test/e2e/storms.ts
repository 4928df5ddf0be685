// SPDX-License-Identifier: Apache-2.0
/** What a storm leaves, and what an agent makes of it, in the same words. */

import type { Vm } from '../lab/lab.ts';
import type { StormLife } from '../lab/storm.ts';
import type { AgentInVm } from './agent.ts';

/** A type of each sample driver. */
export const TYPES = [
  ['mtty', 'mtty-1'],
  ['mdpy', 'mdpy-vga'],
] as const;

/** Loads all that a storm needs. */
export async function loadModules(vm: Vm): Promise<void> {
  await vm.run(['sh', '-c', 'modprobe mdev; modprobe vfio_iommu_type1; modprobe kvm_amd']);
  await vm.run(['sh', '-c', 'modprobe -q vfio_mdev; modprobe mtty; modprobe mdpy count=40']);
}

/** Ends what a failed test would leave to the next. */
export async function clearAway(vm: Vm): Promise<void> {
  await vm.run(['sh', '-c', 'pkill -KILL -f [d]ist/agent/main.js; pkill -TERM storm']);
}

/** "uuid on parent state opens" of each device that should be there, sorted. */
export function heldDevices(lives: ReadonlyMap<string, StormLife>): string[] {
  return [...lives.values()]
    .filter(({ held }) => held)
    .map(
      ({ uuid, parent, opens }) => `${uuid} on ${parent} ${opens > 0 ? 'open' : 'bound'} ${opens}`,
    )
    .sort();
}

export async function seenDevices(agent: AgentInVm): Promise<string[]> {
  return (await agent.devices())
    .map(({ id, parent, state, openCount }) => `${id} on ${parent} ${state} ${openCount}`)
    .sort();
}
