/**
 * The random host: processes, and the files of devices, groups and cdevs that are in them. It shows of them what
 * a kernel shows, so that what a message says can be compared with what was done (true-steps.ts).
 */
import type { FileOwner, GroupMember, Host } from '../../src/events/host.ts';
import { LINUX_6_12, WITH_IOMMUFD } from '../../src/scenario/kernels.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';
import type { ScenarioDevice, ScenarioVm } from '../../src/scenario/types.ts';
import { SECOND } from '../../src/units.ts';
import {
  actorOf,
  type CdevFile,
  type DeviceFile,
  hasDescriptor,
  hasFiles,
  isOpenBy,
  ownerOf,
  type Process,
  type TrueFile,
  type TrueGroup,
} from './true-files.ts';
import { type GroupState, isViable, membersOf, type Refusal } from './true-groups.ts';

/** A VM, and who has its file open. */
export interface TrueVm {
  readonly vm: ScenarioVm;
  readonly creator: Process;
  readonly owners: Set<Process>;
  /** ns on the boot-time clock, 0 while somebody has it open. */
  closedAt: number;
}

/** How a kernel, and what reads /proc, may differ. */
export interface Differences {
  /** The kernel shows of which device a file is, as it does since 6.13. */
  readonly showsDevice: boolean;
  /** The agent knows of which device a cdev is that sysfs has lost. */
  readonly showsRemovedCdev: boolean;
  readonly hasCdevs: boolean;
  /** The removal of a group's last device waits until the group is in no container. */
  readonly waitsForGroup: boolean;
  /** /proc is read beside the event loop, so that no answer is there at once. */
  readonly answersLate: boolean;
}

/** For so long after a refusal a message about it may come, ns. */
const REPORTED_WITHIN = 4 * SECOND;

export class TrueHost {
  readonly processes: Process[] = [];
  readonly devices: ScenarioDevice[];
  readonly groups: readonly TrueGroup[];
  readonly files = new Set<TrueFile>();
  readonly vms: TrueVm[] = [];
  readonly refusals: Refusal[] = [];
  /** By name, ns on the boot-time clock. */
  readonly removalBegan = new Map<string, number>();
  readonly kernel: Differences;
  /** The time of the latest event, ns on the boot-time clock. */
  readonly now: () => number;
  /** All files that were ever opened. */
  readonly #opened: TrueFile[] = [];
  /** The devices that are being removed, and how that ends. */
  readonly removals = new Map<ScenarioDevice, () => void>();
  /** How many steps were taken. */
  steps = 0;
  #answer: { readonly at: number; readonly owners: readonly FileOwner[] } | undefined;
  #isAsked = false;

  /** @param now the time of the latest step, ns on the boot-time clock */
  constructor(scenario: Scenario, now: () => number, kernel: Differences) {
    this.now = now;
    this.kernel = kernel;
    const mdev = scenario.create(scenario.parent());
    const [one, other] = pciGroup(scenario);
    this.devices = [mdev, one, other];
    const sibling = { name: '0000:01:00.2', driver: undefined };
    this.groups = [groupOf([mdev]), groupOf([one, other], sibling)];
  }

  host(): Host {
    const { showsDevice, waitsForGroup, hasCdevs } = this.kernel;
    const traits = hasCdevs ? WITH_IOMMUFD : LINUX_6_12;
    return {
      traits: { ...traits, removalWaitsForGroup: waitsForGroup },
      pidsWithKvmFiles: () =>
        new Set(this.vms.flatMap(({ owners }) => [...owners].map(({ pid }) => pid))),
      isAlive: (pid, at) => {
        const process = this.living.find((one) => one.pid === pid);
        return process !== undefined && process.startedAt <= at;
      },
      isExiting: () => false,
      hasDeviceFile: (pid, fd, device) => {
        const file = this.living.find((one) => one.pid === pid)?.descriptors.get(fd);
        return file?.is === 'device' && (!showsDevice || file.device.uuid === device);
      },
      fileOwners: (notBefore) => this.#ownersSince(notBefore),
      groupMembers: (id) => {
        const group = this.groups.find((one) => one.id === id);
        return group && membersOf(group);
      },
    };
  }

  get living(): Process[] {
    return this.processes.filter(({ endedAt }) => endedAt === 0);
  }

  isRemoving(device: ScenarioDevice): boolean {
    return this.removals.has(device);
  }

  /** Those that have a file of the device, by a descriptor or by a mapping. */
  holdersOf(device: ScenarioDevice): Process[] {
    const isOf = (file: TrueFile) => file.is !== 'group' && file.device === device;
    return this.living.filter(({ descriptors, mapped }) =>
      [...descriptors.values(), ...mapped].some(isOf),
    );
  }

  /** Those that have a descriptor of the file of the group. */
  holdersOfGroup({ file }: TrueGroup): Process[] {
    return file ? this.living.filter((one) => hasDescriptor(one, file)) : [];
  }

  /** After each step, when agents have seen it: /proc is read if somebody has asked. */
  settle(): void {
    const now = this.now();
    for (const { at, group, states } of this.refusals) {
      if (now - at <= REPORTED_WITHIN) states.push(this.#stateOf(group));
    }
    if (this.#isAsked) this.#answer = { at: now, owners: this.#owners() };
    this.#isAsked = false;
    this.steps++;
  }

  /** Those whose file the process has open. */
  vmsOf(process: Process): TrueVm[] {
    return this.vms.filter(({ owners }) => owners.has(process));
  }

  ownVm(process: Process): ScenarioVm | undefined {
    return this.vms.find(({ creator, owners }) => creator === process && owners.has(process))?.vm;
  }

  add(file: TrueFile): void {
    this.files.add(file);
    this.#opened.push(file);
  }

  refuse(what: Refusal['what'], group: TrueGroup, process: Process, device?: ScenarioDevice): void {
    const at = this.now();
    const { file } = group;
    this.refusals.push({
      ...{
        what,
        group,
        task: actorOf(process),
        process,
        device,
        at,
        file,
        bound: this.boundIn(group),
      },
      ...{ members: membersOf(group), isViable: isViable(group), open: this.openIn(group) },
      all: [...this.#opened],
      states: [],
    });
  }

  groupOf({ groupId }: ScenarioDevice): TrueGroup {
    const group = this.groups.find(({ id }) => id === groupId);
    if (!group) throw new Error(`there is no group ${groupId}`);
    return group;
  }

  /** The files by which devices of the group are open. */
  openIn({ devices }: TrueGroup): (DeviceFile | CdevFile)[] {
    return [...this.files].filter(
      (file) => file.is !== 'group' && devices.has(file.device) && isOpenBy(file, file.device),
    ) as (DeviceFile | CdevFile)[];
  }

  boundIn(group: TrueGroup): CdevFile | undefined {
    return this.openIn(group).find((file) => file.is === 'cdev') as CdevFile | undefined;
  }

  /** Whether its removal would have to wait. */
  isKept(device: ScenarioDevice): boolean {
    const { file, devices } = this.groupOf(device);
    const isLast = devices.size === 1;
    if (device.openCount > 0 || (this.kernel.waitsForGroup && isLast && file?.hasContainer))
      return true;
    return [...this.files].some((one) => one.is === 'cdev' && one.device === device);
  }

  isReferred(file: TrueFile): boolean {
    const isOurs = this.processes.some(
      (one) => hasDescriptor(one, file) || (file.is !== 'group' && one.mapped.has(file)),
    );
    if (isOurs || file.inFlight) return true;
    if (file.is === 'device') return false;
    const isOfDevice = [...this.files].some((one) => one.is === 'device' && one.group === file);
    return file.keptBy.size > 0 || isOfDevice;
  }

  #stateOf(group: TrueGroup): GroupState {
    return { step: this.steps, holders: this.holdersOfGroup(group), living: this.living };
  }

  #ownersSince(notBefore: number): readonly FileOwner[] | undefined {
    if (!this.kernel.answersLate) return this.#owners();
    this.#isAsked = true;
    return this.#answer && this.#answer.at >= notBefore ? this.#answer.owners : undefined;
  }

  #owners(): FileOwner[] {
    const shows = { device: this.kernel.showsDevice, removedCdev: this.kernel.showsRemovedCdev };
    const isRemoving = (device: ScenarioDevice) => this.isRemoving(device);
    return this.living
      .map((one) => ownerOf(one, shows, this.vmsOf(one).length > 0, isRemoving))
      .filter(hasFiles)
      .toSorted((one, other) => one.pid - other.pid);
  }
}

/** Two functions of a card, in one IOMMU group. */
function pciGroup(scenario: Scenario): [ScenarioDevice, ScenarioDevice] {
  const one = scenario.bindPci('0000:01:00.0');
  return [one, scenario.bindPci('0000:01:00.1', { beside: one })];
}

function groupOf(devices: readonly ScenarioDevice[], sibling?: GroupMember): TrueGroup {
  const [device] = devices;
  const names = devices.map(({ uuid }) => uuid);
  return { id: device.groupId, device, names, devices: new Set(devices), sibling, file: undefined };
}
