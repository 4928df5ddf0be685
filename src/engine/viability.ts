/** Whether VFIO can use an IOMMU group: not while a driver of the host uses one of its devices. */
import type { GroupMember } from '../events/host.ts';
import type { RuleContext } from './rule.ts';

/**
 * Drivers that do no DMA for the host, so that VFIO shares a group with them: those that set
 * driver_managed_dma, and before 5.19 vfio_driver_whitelist and bridges.
 */
const HARMLESS = new Set(['pci-stub', 'pcieport', 'shpchp']);
/** How many devices are named. */
const MOST = 8;

/** A group that is not viable. */
export interface Unviable {
  readonly members: readonly GroupMember[];
  /** Those that drivers of the host use. */
  readonly inUse: readonly GroupMember[];
}

/** @returns undefined when the group is viable, and when that is not known */
export function unviable(
  groupId: number,
  { world, host }: Pick<RuleContext, 'world' | 'host'>,
): Unviable | undefined {
  const members = host.groupMembers?.(groupId);
  if (!members) return undefined;
  // Whatever the driver of a device is called: one that is known to be in the group is registered with VFIO.
  const known = new Set(world.groups.get(groupId)?.devices.map(({ name }) => name));
  const inUse = members.filter(({ name, driver }) => !known.has(name) && isOfHost(driver));
  return inUse.length > 0 ? { members, inUse } : undefined;
}

function isOfHost(driver: string | undefined): boolean {
  return driver !== undefined && !HARMLESS.has(driver) && !driver.includes('vfio');
}

/** "0000:01:00.1 is bound to snd_hda_intel, a driver of the host. …" */
export function unviableWords(groupId: number, { members, inUse }: Unviable): string {
  const bound = listed(
    inUse.map(({ name, driver }) => `${name} is bound to ${driver}`),
    ' and ',
  );
  const what = inUse.length === 1 ? 'a driver of the host' : 'drivers of the host';
  const all = members.map(({ name, driver }) => `${name} (${driver ?? 'no driver'})`);
  return `${bound}, ${what}. Group ${groupId} has ${listed(all, ', ')}.`;
}

function listed(words: readonly string[], separator: string): string {
  const rest = words.length - MOST;
  const shown = words.slice(0, MOST).join(separator);
  return rest > 0 ? `${shown}${separator}${rest} more` : shown;
}
