/** The parts of a scenario: tasks, objects, and calls that have begun and not ended. */

import type { GroupMember } from '../events/host.ts';

export interface Actor {
  readonly pid: number;
  /** The id of one of its threads; by default the first. */
  readonly tid?: number;
  readonly comm: string;
  /** By default 0. */
  readonly uid?: number;
  /** Its id; by default 0, for none. */
  readonly cgroup?: number;
  /** The process whose memory it shares; by default its own. */
  readonly memory?: number;
}

export interface ScenarioParent {
  readonly key: number;
  readonly name: string;
  readonly driver: string;
  /** The mdev type that it offers. */
  readonly type: string;
}

export interface ScenarioDevice {
  readonly key: number;
  readonly uuid: string;
  readonly parent: ScenarioParent | undefined;
  readonly groupId: number;
  openCount: number;
  /** The VM that was set for its group, and the one that it captured at its first open. */
  groupVm: ScenarioVm | undefined;
  vm: ScenarioVm | undefined;
}

export interface ScenarioVm {
  readonly key: number;
  readonly task: Actor;
  users: number;
}

export interface Opening {
  readonly device: ScenarioDevice;
  readonly key: number;
  readonly task: Actor;
}

export interface Creation {
  readonly device: ScenarioDevice;
  readonly task: Actor;
}

export interface Removal {
  readonly device: ScenarioDevice;
  readonly task: Actor;
  /** Whether the kernel has not begun the teardown of the device. */
  idle: boolean;
}

export interface Unregistering {
  readonly parent: ScenarioParent;
  readonly task: Actor;
}

/** How many more mdevs of each type a parent offers, by their names. */
export type Offers = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** The devices of an IOMMU group and their drivers, as sysfs shows them from here on. */
export interface GroupMembers {
  readonly group: number;
  readonly members: readonly GroupMember[];
}

/**
 * A record, a tick (ns on the boot-time clock), a loss of events, or a change of the host: the
 * processes that have KVM files from here on, what a parent offers, or who is in an IOMMU group.
 */
export type Step = Uint8Array | number | 'loss' | ReadonlySet<number> | Offers | GroupMembers;

/**
 * Where a bind of a cdev fails: at the request itself, because the group is open, at the file or what was passed
 * with it, in the open of the device, or when that has succeeded and the id is returned.
 */
export type BindStep = 'request' | 'group' | 'descriptor' | 'device' | 'opened';
