// SPDX-License-Identifier: Apache-2.0
/** The devices that a storm keeps and the devices that an agent reports, in one format. */

import type { Vm } from '../lab/lab.ts';
import type { StormDevice } from '../lab/storm.ts';
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

/** Ends the processes that a failed test would leave for the next one. */
export async function clearAway(vm: Vm): Promise<void> {
  await vm.run(['sh', '-c', 'pkill -KILL -f [d]ist/agent/main.js; pkill -TERM storm']);
}

/** "uuid on parent state opens" of each device that should be there, sorted. */
export function heldDevices(devices: ReadonlyMap<string, StormDevice>): string[] {
  return [...devices.values()]
    .filter(({ held }) => held)
    .map(
      ({ uuid, parent, opens }) => `${uuid} on ${parent} ${opens > 0 ? 'open' : 'bound'} ${opens}`,
    )
    .sort();
}

/** The same for each device that an agent reports. */
export async function reportedDevices(agent: AgentInVm): Promise<string[]> {
  return (await agent.devices())
    .map(({ id, parent, state, openCount }) => `${id} on ${parent} ${state} ${openCount}`)
    .sort();
}
