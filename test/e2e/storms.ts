// SPDX-License-Identifier: Apache-2.0
/** What a storm leaves, and what an agent makes of it, in the same words. */
import type { StormLife } from '../lab/storm.ts';
import type { AgentInVm } from './agent.ts';

/** A type of each sample driver. */
export const TYPES = [
  ['mtty', 'mtty-1'],
  ['mdpy', 'mdpy-vga'],
] as const;

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
