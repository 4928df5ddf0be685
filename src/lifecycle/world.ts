/**
 * The state of the host that the agent tracks: live objects, objects that ended recently, and calls
 * in flight. Only handlers (see dispatcher.ts) change it; rules and sinks read it.
 */
import type { EventCursor } from '../events/cursor.ts';
import { POINT } from '../events/wire.gen.ts';
import { Calls } from './calls.ts';
import type { IommufdContext } from './iommufd-context.ts';
import { KeyTable } from './key-table.ts';
import {
  type Cdev,
  type Device,
  Group,
  type Mapper,
  type Open,
  type Parent,
  type Vm,
} from './objects.ts';
import { Registry } from './registry.ts';
import { excluding } from './related.ts';
import type { Quality, TrackedObject } from './tracked-object.ts';

/** A host snapshot in progress: its begin has been processed, and its end has not. */
export interface Snapshot {
  /** Counted from 1. */
  readonly number: number;
  /** When it began, ns on the boot-time clock. */
  readonly began: number;
  /** The process that takes it. */
  readonly pid: number;
  /** `World.losses` when it began. */
  readonly losses: number;
  /**
   * Devices of which the snapshot closed a file, that of the device or of its group. The snapshot holds
   * a file while it reads it, so if the owner closes the file at that time, the last reference is
   * dropped a little later, by the process that takes the snapshot.
   */
  readonly delayedCloses: Set<Device>;
  /** The names of devices and parents that ended since it began, which its records must not adopt again. */
  readonly endedNames: Set<string>;
  /** Opens, cdevs, iommufd contexts and VMs that ended since it began, by key, for the same reason. */
  readonly endedKeys: KeyTable<TrackedObject>;
  /** The threads that created the VMs that ended since it began; debugfs lists VMs by thread. */
  readonly endedCreators: Set<number>;
  /** The VM of each group according to the records, by key. */
  readonly groupVms: { group: Group; low: number; high: number; time: number }[];
  /** VMs of which a process has the VM's own file open, not only a file of a vCPU. */
  readonly vmsWithFd: Set<Vm>;
  /** VMs that are known only because a device points to them. */
  readonly vmsOfDevices: Set<Vm>;
  /** Devices that the snapshot found, and about which events may have been lost before. */
  readonly checked: Set<Device>;
  /** How many VMs debugfs lists for each thread that created some. */
  readonly vmEntries: Map<number, number>;
}

export interface WorldOptions {
  /** How many ended devices, and as many ended VMs, are kept for queries. */
  readonly endedObjects: number;
  /**
   * Whether the kernel has counted a lost event that the sequence numbers do not show yet. The next record
   * of that CPU will show it, but records of other CPUs may arrive before. By default, losses are
   * detected from sequence numbers alone.
   */
  readonly isLosing?: () => boolean;
}

/** How many ended parents keep their timeline. */
const ENDED_PARENTS = 16;

export class World {
  readonly parents: Registry<Parent>;
  readonly devices: Registry<Device>;
  readonly opens: Registry<Open>;
  readonly cdevs: Registry<Cdev>;
  readonly iommufds: Registry<IommufdContext>;
  readonly vms: Registry<Vm>;
  readonly groups = new Map<number, Group>();
  readonly calls = new Calls();

  /** Devices by the key of their vfio_device, which differs from the key of their struct device. */
  readonly vdevKeys = new KeyTable<Device>();
  /** mdevs that ended before their vfio_device was freed. They can still be found by the key of that. */
  readonly unfreed = new Set<Device>();

  /** The latest time of an event that has been processed, ns on the boot-time clock. */
  now = 0;
  /**
   * How many times a loss of events was detected. Objects that existed before the latest one may be
   * unverified.
   */
  losses = 0;
  /** See {@link WorldOptions}. */
  readonly isLosing: () => boolean;
  /**
   * Since when the state is unverified, ns on the boot-time clock; meaningful only while
   * {@link isUnverified}.
   */
  unverifiedSince = 0;
  /** The value of {@link losses} up to which a host snapshot has reconciled the state. */
  lossesReconciled = 0;
  /** The host snapshot in progress. Handlers of events record in it what happens meanwhile. */
  snapshot: Snapshot | undefined;
  /** How many host snapshots have begun. */
  snapshots = 0;
  /** The process whose request to map memory for DMA failed last. */
  mapper: Mapper | undefined;
  /** Whether a host snapshot has read sysfs, so that every registered parent is known. */
  knowsParents = false;

  constructor({ endedObjects, isLosing }: WorldOptions = { endedObjects: 1000 }) {
    this.isLosing = isLosing ?? (() => false);
    this.parents = new Registry({
      // Rules may still show how one ended.
      keepEnded: ENDED_PARENTS,
      onEnd: ({ name }) => this.snapshot?.endedNames.add(name),
      onForget: ({ timeline }) => timeline.release(),
    });
    this.devices = new Registry({
      keepEnded: endedObjects,
      onEnd: (device) => this.#untie(device),
      onForget: (device) => {
        this.forgetUnfreed(device);
        device.timeline.release();
      },
    });
    this.opens = new Registry({
      onEnd: (open) => this.#keepEndedKey(open),
    });
    this.cdevs = new Registry({
      onEnd: (cdev) => {
        this.#keepEndedKey(cdev);
        cdev.device.cdevs = excluding(cdev.device.cdevs, cdev);
      },
    });
    this.iommufds = new Registry({
      onEnd: (context) => this.#keepEndedKey(context),
    });
    this.vms = new Registry({
      keepEnded: endedObjects,
      onEnd: (vm) => {
        this.#keepEndedKey(vm);
        this.snapshot?.endedCreators.add(vm.creatorTid);
        vm.lossesAtEnd = this.losses;
      },
      onForget: ({ timeline }) => timeline.release(),
    });
  }

  /** Records that events were lost. */
  lose(): void {
    if (!this.isUnverified) this.unverifiedSince = this.now;
    this.losses++;
    // The releases of their vfio_devices may be among the lost events.
    for (const device of this.unfreed) this.forgetUnfreed(device);
  }

  /** Whether events were lost since the last complete host snapshot. */
  get isUnverified(): boolean {
    return this.losses > this.lossesReconciled;
  }

  qualityOf(object: TrackedObject): Quality {
    if (this.isLosing()) return 'unverified';
    const losses = object.lossesAtEnd < 0 ? this.losses : object.lossesAtEnd;
    if (losses > object.lossesBefore) return 'unverified';
    return object.adopted ? 'partial' : 'observed';
  }

  group(id: number): Group {
    let group = this.groups.get(id);
    if (!group) {
      group = new Group(id);
      this.groups.set(id, group);
    }
    return group;
  }

  /**
   * The device of that name that a call is creating below that parent, and whose key no event has contained
   * yet.
   */
  creationOf(name: string, parentName: string): Device | undefined {
    for (const { device } of this.calls.at(POINT.MDEV_CREATE)) {
      const isKeyless = device?.keyLow === 0 && device.keyHigh === 0;
      if (isKeyless && device.name === name && device.parentName === parentName) return device;
    }
    return undefined;
  }

  /** Stops waiting for the release of its vfio_device, which has happened or will not be observed. */
  forgetUnfreed(device: Device): void {
    if (this.unfreed.delete(device)) {
      this.vdevKeys.delete(device.vdevLow, device.vdevHigh, device);
    }
  }

  /**
   * Supersedes a device if the event is about another device at the same address: then the release of
   * this one was lost.
   * @returns whether it did
   */
  supersedeIfReused(device: Device, event: EventCursor): boolean {
    if (this.losses === device.lossesBefore || !event.isNamed) return false;
    const name = event.name('device');
    if (name === '' || name === device.name) return false;
    this.devices.supersede(device);
    return true;
  }

  leaveGroup(device: Device): void {
    const group = this.groups.get(device.groupId);
    if (!group?.devices.includes(device)) return;
    group.devices = excluding(group.devices, device);
    if (group.devices.length === 0) this.groups.delete(group.id);
  }

  /** A host snapshot in progress must not adopt it again. */
  #keepEndedKey(object: TrackedObject): void {
    this.snapshot?.endedKeys.set(object.keyLow, object.keyHigh, object);
  }

  /** Removes a device that ended from its relations to other objects. */
  #untie(device: Device): void {
    this.snapshot?.endedNames.add(device.name);
    const isObserved = device.releasedAt > 0 && this.qualityOf(device) === 'observed';
    if (device.hasVdev && isObserved) this.unfreed.add(device);
    else this.vdevKeys.delete(device.vdevLow, device.vdevHigh, device);
    // The device still has opens only if their ends were missed. It keeps the list of them.
    for (const open of device.opens) this.opens.end(open);
    for (const cdev of device.cdevs) this.cdevs.supersede(cdev);
    if (device.vm) device.vm.devices = excluding(device.vm.devices, device);
    this.leaveGroup(device);
    device.lossesAtEnd = this.losses;
    const { parent } = device;
    if (!parent) return;
    parent.devices.delete(device);
    // If its unregistration began before it was first observed, no event will show the end of that.
    const isUnobserved = !parent.unregisterBegan || parent.unregisterKnownBy !== 'begin';
    if (parent.state === 'unregistering' && isUnobserved && parent.devices.size === 0) {
      parent.state = 'gone';
      this.parents.end(parent);
    }
  }
}
