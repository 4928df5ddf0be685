/** Who holds the devices and the VM that a finding is about: by events, and by what the host shows. */

import type { BlockedTask, FileOwner, Host, OwnedCdev, OwnedFile } from '../events/host.ts';
import type { Task } from '../events/task.ts';
import { POINT } from '../events/wire.gen.ts';
import type { Device, Open, Vm } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { SECOND } from '../units.ts';
import { boundCdev } from './cdev-bind.ts';
import { KvmOwners } from './kvm-owners.ts';
import type { Finding } from './rule.ts';
import type { Holder, Party } from './violation.ts';
import { vmReference } from './words.ts';

export type Subject = Pick<Finding, 'device' | 'vm' | 'parent' | 'ongoing'>;

/** How many holders are kept with one violation. */
const MOST = 100;
/** Of how many holders all threads are read, for one violation and between two ticks. */
const MOST_LOOKED_AT = 4;
const MOST_LOOKED_AT_A_TICK = 8;
/** How long it is said again what a holder waits for, ns; and of how many holders that is kept. */
const WAIT_LASTS = 4 * SECOND;
const MOST_WAITS = 1000;
/** How long it is still said who held files, on a host where reading them takes long; ns. */
export const OWNERS_LAST = 120 * SECOND;

export class Holders {
  readonly #world: World;
  readonly #host: Host;
  readonly #kvmOwners: KvmOwners;
  readonly #waits = new Map<number, { at: number; inKernel: BlockedTask | undefined }>();
  #lookedAt = 0;
  /** The latest open of each descriptor, by process and number. */
  #known = new Map<string, Open>();
  /** Of which device each cdev is, by the name of its node: sysfs no longer shows that of a removed one. */
  #nodes = new Map<string, string>();
  /** As of when the three above are. */
  #asOf = -1;

  constructor(world: World, host: Host) {
    this.#world = world;
    this.#host = host;
    this.#kvmOwners = new KvmOwners(world);
  }

  /** At each tick: has the files of processes read while something waits for a file to be closed. */
  prepare(): void {
    if (needsOwners(this.#world)) this.#owners();
  }

  of(subject: Subject): Holder[] {
    const { vm } = subject;
    const devices = devicesOf(subject);
    // A one-shot violation is attributed to its own time, so who holds the files now does not matter,
    // except of what stands in its way.
    const asks = subject.ongoing === true || subject.device?.holder !== undefined;
    if (asks) this.#renew();
    const opens = devices.flatMap((device) => device.opens);
    const holders = opens.map((open) => this.#opener(open, asks));
    const isAboutVm = vm !== undefined && !subject.device;
    const isOneUnknown = holders.some(isWithoutFile) || devices.some(isHeldUnobserved);
    const owners =
      asks && (isOneUnknown || isAboutVm) ? this.#ownersFor(opens, holders, subject) : [];
    if (isAboutVm) holders.push(...this.#holdersOfVm(vm, owners));
    if (isOneUnknown) {
      const others = this.#receivers(owners, devices);
      const taken = others.some(({ how }) => how === 'holds');
      holders.push(...others);
      for (const [i, holder] of holders.entries()) {
        if (holder.how === 'closed' && taken) holders[i] = { ...holder, how: 'passed on' };
      }
    }
    const kept = holders.slice(0, MOST);
    return asks ? this.#withWaits(kept) : kept;
  }

  #owners(): readonly FileOwner[] | undefined {
    return this.#host.fileOwners?.(this.#world.now - OWNERS_LAST);
  }

  /**
   * An answer from before a file was opened says nothing about who has it now, nor does one in which its
   * opener still has a file that has gone elsewhere since.
   */
  #ownersFor(
    opens: readonly Open[],
    holders: readonly Holder[],
    subject: Subject,
  ): readonly FileOwner[] {
    const since = Math.max(
      this.#world.now - OWNERS_LAST,
      subject.device ? 0 : (subject.vm?.fdClosedAt ?? 0),
      ...devicesOf(subject).map(({ unregisterBegan }) => unregisterBegan),
      ...opens.map(knownSince),
    );
    const owners = this.#host.fileOwners?.(since) ?? [];
    const isFromBefore = opens.some((open, i) => {
      const { task, fd, device } = open;
      if (!isWithoutFile(holders[i]) || this.#known.get(`${task.pid} ${fd}`) !== open) return false;
      const owner = owners.find((one) => isOpener(one, open));
      const file = owner?.deviceFiles.find((one) => one.fd === fd);
      return file !== undefined && (file.device ?? device.name) === device.name;
    });
    return isFromBefore ? [] : owners;
  }

  #party(task: Task): Party {
    return { task, group: this.#host.controlGroup?.(task) };
  }

  /** @param asks whether it matters who holds the file now */
  #opener(open: Open, asks: boolean): Holder {
    const about = {
      holds: 'device' as const,
      device: open.device.name,
      fd: open.fd,
      since: open.openedAt,
      vm: open.vm && vmReference(open.vm),
    };
    if (open.state === 'opening') return { ...this.#party(open.task), how: 'opening', ...about };
    if (open.state === 'closing')
      return { ...this.#party(this.#closerOf(open)), how: 'closing', ...about };
    if (!asks) return { ...this.#party(open.task), how: 'opened', ...about };
    const how = this.#stateOf(open);
    const task = how === 'gone' ? open.task : this.#asNamedNow(open.task);
    return { ...this.#party(task), how, ...about };
  }

  /** A process that has called exec since has another name. */
  #asNamedNow(task: Task): Task {
    const comm = this.#host.processName?.(task.pid);
    return comm === undefined || comm === task.comm ? task : { ...task, comm };
  }

  #closerOf(open: Open): Task {
    const close = this.#world.calls.at(POINT.VFIO_DEVICE_CLOSE).find((call) => call.open === open);
    return close?.task ?? open.task;
  }

  #stateOf(open: Open): Holder['how'] {
    const { task, fd, device } = open;
    const { pid } = task;
    if (this.#host.isAlive?.(pid, knownSince(open)) === false) return 'gone';
    // Files of a process that exits do not show any more.
    if (this.#host.isExiting?.(pid)) return 'exiting';
    if (boundCdev(device)) return this.#stateOfBound(open);
    const has = fd < 0 ? undefined : this.#host.hasDeviceFile?.(pid, fd, device.name);
    if (has === undefined) return 'opened';
    // It may have opened another device since, which got the same descriptor.
    return has && this.#known.get(`${pid} ${fd}`) === open ? 'holds' : 'closed';
  }

  /** Of whoever bound the cdev of a device: its descriptors are found by the node, since no event shows them. */
  #stateOfBound(open: Open): Holder['how'] {
    const { device } = open;
    const since = Math.max(knownSince(open), device.unregisterBegan, this.#world.now - OWNERS_LAST);
    const owners = this.#host.fileOwners?.(since);
    if (!owners) return 'opened';
    const files = owners.find((owner) => isOpener(owner, open))?.cdevFiles ?? [];
    const found = files.map((file) => this.#deviceOf(file));
    if (found.includes(device.name)) return 'holds';
    return found.includes(undefined) ? 'opened' : 'closed';
  }

  #deviceOf({ cdev, device }: OwnedCdev): string | undefined {
    return device ?? this.#nodes.get(cdev);
  }

  /** Who has the VM's own file, and who may have other files of it. */
  #holdersOfVm(vm: Vm, owners: readonly FileOwner[]): Holder[] {
    const about = { device: undefined, vm: vmReference(vm) };
    if (vm.state === 'running') {
      const { task, fd, createdAt: since } = vm;
      const own = { holds: 'vm', how: 'opened', fd, since, ...about } as const;
      return task ? [{ ...this.#party(task), ...own }] : [];
    }
    const some = { holds: 'kvm', how: 'may hold', fd: -1, since: 0, ...about } as const;
    return this.#kvmOwners.of(vm, owners).map((owner) => ({ ...this.#owner(owner), ...some }));
  }

  /**
   * Those who have files of devices whose open was not observed: perhaps copies of the observed ones.
   * A mapping says less than a descriptor, since whoever has a descriptor mostly has both: it counts only
   * where its process has no descriptor of the device.
   */
  #receivers(owners: readonly FileOwner[], devices: readonly Device[]): Holder[] {
    const names = new Set(devices.map(({ name }) => name));
    // A file of an unknown device is none of those that nobody has open.
    const mayBeAny = devices.some(({ openCount, opens }) => openCount !== 0 || opens.length > 0);
    const isAsked = (device: string | undefined) =>
      device === undefined ? mayBeAny : names.has(device);
    const bound = devices.filter((device) => boundCdev(device)).flatMap(({ opens }) => opens);
    const isBinder = (owner: FileOwner, name: string | undefined) =>
      bound.some((open) => open.device.name === name && isOpener(owner, open));
    const found: Holder[] = [];
    const mapped: Holder[] = [];
    for (const owner of owners) {
      const add = (to: Holder[], holds: Holder['holds'], fd: number, device?: string) => {
        const how = device === undefined ? 'may hold' : 'holds';
        to.push({ ...this.#owner(owner), holds, how, device, fd, vm: undefined, since: 0 });
      };
      const { pid, startedAt, deviceFiles, cdevFiles, mappedDevices } = owner;
      const isKnown = ({ fd, device }: OwnedFile) => {
        const open = this.#known.get(`${pid} ${fd}`);
        if (!open || knownSince(open) < startedAt) return false;
        return device === undefined || device === open.device.name;
      };
      for (const file of deviceFiles) {
        if (isAsked(file.device) && !isKnown(file)) add(found, 'device', file.fd, file.device);
      }
      for (const file of cdevFiles) {
        const device = this.#deviceOf(file);
        const isAbout = device === undefined || names.has(device);
        if (isAbout && !isBinder(owner, device)) add(found, 'cdev', file.fd, device);
      }
      const byDescriptor = new Set([
        ...deviceFiles.map(({ device }) => device),
        ...cdevFiles.map((file) => this.#deviceOf(file)),
      ]);
      for (const { device } of uniqueMappings(mappedDevices)) {
        const isOnlyMapped = device === undefined || !byDescriptor.has(device);
        if (isAsked(device) && isOnlyMapped) add(mapped, 'mapping', -1, device);
      }
    }
    const hasFiles = new Set(
      owners
        .filter(({ deviceFiles, cdevFiles }) => deviceFiles.length + cdevFiles.length > 0)
        .map(({ pid }) => pid),
    );
    const onlyMapped = mapped.filter(({ task, how }) => how === 'holds' || !hasFiles.has(task.pid));
    const holders = [...found, ...(found.length + onlyMapped.length > 0 ? onlyMapped : mapped)];
    return holders.length > 0 ? holders : this.#holdersOfGroups(owners, devices);
  }

  /** Who has the group of a device open that is unregistered and that nobody has open. */
  #holdersOfGroups(owners: readonly FileOwner[], devices: readonly Device[]): Holder[] {
    const byGroup = new Map(
      devices
        .filter(({ groupId, openCount }) => groupId >= 0 && openCount === 0)
        .map((device) => [device.groupId, device]),
    );
    return owners.flatMap((owner) =>
      owner.groupFiles.flatMap(({ fd, group }): Holder[] => {
        const device = byGroup.get(group)?.name;
        if (device === undefined) return [];
        const about = { device, fd, vm: undefined, since: 0 };
        return [{ ...this.#owner(owner), holds: 'group', how: 'may hold', ...about }];
      }),
    );
  }

  /** Collects once for all findings of a tick when each descriptor was opened whose open was observed. */
  #renew(): void {
    const { now, devices } = this.#world;
    if (now === this.#asOf) return;
    this.#asOf = now;
    this.#lookedAt = 0;
    this.#known = new Map();
    this.#nodes = new Map();
    for (const device of devices) {
      for (const { node } of device.cdevs) if (node) this.#nodes.set(node, device.name);
      for (const open of device.opens) {
        const file = `${open.task.pid} ${open.fd}`;
        const other = this.#known.get(file);
        if (!other || knownSince(other) < knownSince(open)) this.#known.set(file, open);
      }
    }
  }

  /** With what their threads wait for. */
  #withWaits(holders: readonly Holder[]): Holder[] {
    const pids = new Set(holders.filter(({ how }) => how !== 'gone').map(({ task }) => task.pid));
    const asked = new Set([...pids].slice(0, MOST_LOOKED_AT));
    return holders.map((holder) => {
      const { pid } = holder.task;
      const inKernel = asked.has(pid) ? this.#waitOf(pid) : undefined;
      return inKernel ? { ...holder, inKernel } : holder;
    });
  }

  /** Kept for a while, because a VMM has a thread for each vcpu, and many violations may name it. */
  #waitOf(pid: number): BlockedTask | undefined {
    const { now } = this.#world;
    const known = this.#waits.get(pid);
    if (known && now - known.at < WAIT_LASTS) return known.inKernel;
    if (this.#lookedAt >= MOST_LOOKED_AT_A_TICK) return undefined;
    this.#lookedAt++;
    if (this.#waits.size >= MOST_WAITS) this.#waits.clear();
    const inKernel = this.#host.stuckThread?.(pid);
    this.#waits.set(pid, { at: now, inKernel });
    return inKernel;
  }

  #owner({ pid, comm, uid }: FileOwner): Party {
    return this.#party({ pid, tid: pid, comm, uid, cgroup: 0 });
  }
}

/** ns on the boot-time clock. */
function knownSince({ openedAt, firstSeen }: Open): number {
  return openedAt || firstSeen;
}

/** Whether its opener has no file any more, so that somebody else must have it. */
function isWithoutFile({ how }: Holder): boolean {
  return how === 'gone' || how === 'closed';
}

/** Whether it is held by a file whose open was not observed, such as a cdev that is not bound. */
function isHeldUnobserved({ opens, openCount, unregisterBegan, unregisteredAt }: Device): boolean {
  const isWaiting = unregisterBegan > 0 && unregisteredAt === 0;
  return openCount > opens.length || (isWaiting && opens.length === 0);
}

/** Whether it is the process that opened the file, and not a later one with its id. */
function isOpener({ pid, startedAt }: FileOwner, open: Open): boolean {
  return pid === open.task.pid && startedAt <= knownSince(open);
}

/** A process has a mapping for each region of a device. */
function uniqueMappings(mapped: FileOwner['mappedDevices']): FileOwner['mappedDevices'] {
  const names = new Set(mapped.map(({ device }) => device));
  return [...names].map((device) => (device === undefined ? {} : { device }));
}

/** Whether something waits for a file to be closed. */
function needsOwners({ devices, vms }: World): boolean {
  for (const device of devices) {
    if (device.unregisterBegan > 0 && device.unregisteredAt === 0) return true;
  }
  for (const vm of vms) if (vm.state === 'zombie') return true;
  return false;
}

/** The UUID of a device may be held by another one, which an earlier create made. */
function devicesOf({ device, vm, parent }: Subject): Device[] {
  if (device) return device.holder ? [device, device.holder] : [device];
  return [...((vm ?? parent)?.devices ?? [])];
}
