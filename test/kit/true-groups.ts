/** The IOMMU groups of the random host: who has their files, and what was refused because of them. */
import type { GroupMember } from '../../src/events/host.ts';
import type { Actor, ScenarioDevice } from '../../src/scenario/types.ts';
import type { GroupFile, Process, TrueFile, TrueGroup } from './true-files.ts';

/** Drivers of the sibling: one of the host, two that do not matter, or none. */
export const SIBLING_DRIVERS = ['snd_hda_intel', 'pcieport', 'vfio-pci', undefined] as const;

export function isViable({ sibling }: TrueGroup): boolean {
  return sibling?.driver !== SIBLING_DRIVERS[0];
}

/** As sysfs shows them. */
export function membersOf({ devices, sibling }: TrueGroup): GroupMember[] {
  const own = [...devices].map(({ uuid, parent }) => ({
    name: uuid,
    driver: parent?.driver ?? 'vfio-pci',
  }));
  return sibling ? [...own, sibling] : own;
}

/** What became of a file of a group, as it was at some time. */
export interface GroupState {
  /** After which step. */
  readonly step: number;
  /** The processes that had a descriptor of it. */
  readonly holders: readonly Process[];
  readonly living: readonly Process[];
}

/** Something that the kernel refused, or that a process gave up, and everything about it that can be said. */
export interface Refusal {
  readonly what:
    | 'open of group'
    | 'bind'
    | 'request'
    | 'mapping for DMA'
    | 'unset of container'
    | 'nothing, but it is not viable';
  readonly group: TrueGroup;
  readonly task: Actor;
  readonly process: Process;
  /** Of a bind and a request. */
  readonly device: ScenarioDevice | undefined;
  /** ns on the boot-time clock. */
  readonly at: number;
  /** The file that is in the way. */
  readonly file: GroupFile | undefined;
  /** A file by which a device of the group is bound, and which is in the way. */
  readonly bound: Extract<TrueFile, { is: 'cdev' }> | undefined;
  readonly members: readonly GroupMember[];
  readonly isViable: boolean;
  /** The files of devices of the group that were open. */
  readonly open: readonly Exclude<TrueFile, GroupFile>[];
  /** All files that had been opened. */
  readonly all: readonly TrueFile[];
  /** The states from then until the message about it must have come. */
  readonly states: GroupState[];
}
