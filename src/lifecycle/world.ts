/**
 * Everything alive on this host that the agent follows, and what ended lately.
 *
 * apply() turns one event into state. Kernel addresses (as opaque keys) join
 * events to objects only while the object lives; when its release begins, the
 * key is forgotten, because the kernel may hand the address out again at once.
 */
import type { EventCursor } from '../events/cursor.ts';
import { EVENT } from '../events/wire.gen.ts';
import { GROUP_HANDLERS } from './groups.ts';
import { KeyTable } from './key-table.ts';
import { KVM_HANDLERS } from './kvm.ts';
import { MDEV_HANDLERS } from './mdev.ts';
import { MODULE_HANDLERS } from './modules.ts';
import { Moment } from './moment.ts';
import {
  type Device,
  type FdRequest,
  Group,
  type Life,
  type Open,
  type Parent,
  type Quality,
  type Vm,
} from './objects.ts';
import { OPEN_HANDLERS } from './opens.ts';
import { MOMENT_COUNT, type MomentName, momentIndex, momentIndexOf } from './points.ts';
import { SEEN_HANDLERS } from './seen.ts';
import { VFIO_HANDLERS } from './vfio.ts';

/** Updates the world for one kind of moment and notes in it which objects are concerned. */
export type Handler = (world: World, event: EventCursor, moment: Moment) => void;
export type Handlers = Partial<Record<MomentName, Handler>>;

const TIME = EVENT.time >> 2;
const DEV = EVENT.dev >> 2;

const HANDLERS: (Handler | undefined)[] = new Array(MOMENT_COUNT).fill(undefined);
for (const [name, handler] of Object.entries({
  ...MDEV_HANDLERS,
  ...VFIO_HANDLERS,
  ...GROUP_HANDLERS,
  ...OPEN_HANDLERS,
  ...KVM_HANDLERS,
  ...MODULE_HANDLERS,
  ...SEEN_HANDLERS,
})) {
  HANDLERS[momentIndexOf(name as MomentName)] = handler;
}

/** The latest ended lives, oldest first, at most `limit`. */
export class EndedLives<T> {
  readonly limit: number;
  readonly #forget: (life: T) => void;
  readonly #lives: T[] = [];
  /** How many ever ended. */
  total = 0;

  /** @param forget called for each life that has to make room */
  constructor(limit: number, forget: (life: T) => void = () => {}) {
    this.limit = limit;
    this.#forget = forget;
  }

  add(life: T): void {
    this.total++;
    this.#lives.push(life);
    if (this.#lives.length < this.limit * 2) return;
    for (const old of this.#lives.splice(0, this.#lives.length - this.limit)) this.#forget(old);
  }

  list(): readonly T[] {
    return this.#lives.slice(-this.limit);
  }

  /** Those that ended since {@link total} had this value. */
  since(total: number): readonly T[] {
    const count = Math.min(this.total - total, this.limit);
    return count === 0 ? [] : this.#lives.slice(-count);
  }
}

/** A look at the host that is going on. */
export interface Look {
  readonly number: number;
  readonly began: number;
  /** Who looks. */
  readonly pid: number;
  readonly losses: number;
  /**
   * Devices of which it closed a file, its own or its group's: to look at a file is to hold it, so
   * the close of its owner, which came in that moment, did nothing.
   */
  readonly putOff: Set<Device>;
  /** Devices and parents that ended since it began, by name. */
  readonly endedNames: Set<string>;
  /** Opens and VMs that ended since it began. */
  readonly endedKeys: KeyTable<Life>;
  /** The threads that had made VMs that ended since it began. */
  readonly endedMakers: Set<number>;
  /** What groups say that their VM is, by key. */
  readonly groupVms: { group: Group; low: number; high: number; time: number }[];
  /** VMs of which some process has the VM's own file. */
  readonly vmsWithFd: Set<Vm>;
  /** VMs that were first heard of as what a device holds. */
  readonly vmsOfDevices: Set<Vm>;
  /** Devices that were found, and whose earlier events may be missing. */
  readonly checked: Set<Device>;
  /** How many VMs of each thread the kernel lists in debugfs. */
  readonly vmEntries: Map<number, number>;
}

export interface WorldOptions {
  /** How many ended devices, and as many VMs, stay queryable. */
  readonly endedLives: number;
}

export class World {
  readonly parents = new Set<Parent>();
  readonly devices = new Set<Device>();
  readonly vms = new Set<Vm>();
  readonly groups = new Map<number, Group>();
  /** Live devices by UUID or bus address. */
  readonly devicesByName = new Map<string, Device>();

  readonly parentKeys = new KeyTable<Parent>();
  readonly deviceKeys = new KeyTable<Device>();
  readonly vdevKeys = new KeyTable<Device>();
  readonly openKeys = new KeyTable<Open>();
  readonly vmKeys = new KeyTable<Vm>();

  /** Calls in flight, by thread. */
  readonly creating = new Map<number, Device>();
  readonly removing = new Map<number, Device>();
  readonly releasing = new Map<number, Device>();
  readonly fetching = new Map<number, FdRequest>();
  readonly opening = new Map<number, Open>();
  readonly closing = new Map<number, Open>();
  readonly vmCreating = new Map<number, Vm>();
  readonly vmDestroying = new Map<number, Vm>();
  /** Names of kernel modules. */
  readonly unloading = new Map<number, string>();

  /** mdevs that ended before their vfio_device was freed; its key goes on to lead to them. */
  readonly unfreed = new Set<Device>();

  readonly endedDevices: EndedLives<Device>;
  readonly endedVms: EndedLives<Vm>;

  /** ns on the boot-time clock: how far the world is known. */
  now = 0;
  /** Times that events were found lost; lives that began before may be tainted. */
  losses = 0;
  /**
   * Whether the writers know of a loss that no gap has shown yet: the next record of that CPU
   * will, but records of others come before it.
   */
  isLosing: () => boolean = () => false;
  /** When the state began to be unsure, ns on the boot-time clock; of use only while {@link isTainted}. */
  taintedSince = 0;
  /** Those that a look at the host has put right. */
  lossesPutRight = 0;
  /** What a look at the host, which takes a while, must know of what happens meanwhile. */
  look: Look | undefined;
  looks = 0;
  /** Sysfs has been looked at, so parents that are not known are none, or are being withdrawn. */
  knowsParents = false;

  readonly #moment = new Moment();

  constructor(options: WorldOptions = { endedLives: 1000 }) {
    this.endedDevices = new EndedLives(options.endedLives, (device) => {
      this.forgetUnfreed(device);
      device.timeline.release();
    });
    this.endedVms = new EndedLives(options.endedLives, ({ timeline }) => timeline.release());
  }

  /** Takes one event in. @returns the moment, valid until the next call */
  apply(event: EventCursor): Moment {
    const moment = this.#moment;
    const index = momentIndex(event.point, event.isEnd);
    // Not event.time: where the compiler does not inline the getter, its result is put on the heap.
    const { words, word } = event;
    const time = (words[word + TIME] >>> 0) + words[word + TIME + 1] * 2 ** 32;
    if (time > this.now) this.now = time;
    moment.reset(index, event);
    HANDLERS[index]?.(this, event, moment);
    return moment;
  }

  /** Events were found lost. */
  lose(): void {
    if (!this.isTainted) this.taintedSince = this.now;
    this.losses++;
    // What they were waiting for may have been among these.
    for (const device of this.unfreed) this.forgetUnfreed(device);
  }

  /** Whether events were lost since the last look at the host that was taken in whole. */
  get isTainted(): boolean {
    return this.losses > this.lossesPutRight;
  }

  qualityOf(life: Life): Quality {
    if (this.isLosing()) return 'tainted';
    const losses = life.lossesAtEnd < 0 ? this.losses : life.lossesAtEnd;
    if (losses > life.lossesBefore) return 'tainted';
    return life.adopted ? 'late' : 'observed';
  }

  group(id: number): Group {
    let group = this.groups.get(id);
    if (!group) {
      group = new Group(id);
      this.groups.set(id, group);
    }
    return group;
  }

  /** Joins the device to the address that the event names; from here on other events can find it. */
  enterDevice(device: Device, event: EventCursor): void {
    const stale = this.deviceKeys.find(event.u32, event.word + DEV);
    if (stale && stale !== device) this.#supersede(stale);
    const namesake = this.devicesByName.get(device.name);
    // A bus has one device of a name. One that is freed, but whose creation has not returned, ends by that.
    if (namesake && namesake !== device && namesake.bus === device.bus && !namesake.releasedAt) {
      this.#supersede(namesake);
    }
    this.deviceKeys.delete(device.keyLow, device.keyHigh, device);
    device.keyLow = event.u32[event.word + DEV];
    device.keyHigh = event.u32[event.word + DEV + 1];
    this.devices.add(device);
    this.deviceKeys.set(device.keyLow, device.keyHigh, device);
    this.devicesByName.set(device.name, device);
    device.parent?.devices.add(device);
  }

  /** A live device that was found by its name, and whose key is not known, or may be another by now. */
  foundByName(name: string): Device | undefined {
    const device = this.devicesByName.get(name);
    if (!device?.isKeyUnsure) return undefined;
    // Under another key than its own it is another, and what it went through is not that one's.
    const hasKey = device.keyLow !== 0 || device.keyHigh !== 0;
    return hasKey && device.state === 'removing' ? undefined : device;
  }

  /** A device that a call is creating on that parent, and that no event has named by its key. */
  creationOf(name: string, parentName: string): Device | undefined {
    for (const device of this.creating.values()) {
      const isKeyless = device.keyLow === 0 && device.keyHigh === 0;
      if (isKeyless && device.name === name && device.parentName === parentName) return device;
    }
    return undefined;
  }

  endDevice(device: Device): void {
    this.look?.endedNames.add(device.name);
    this.devices.delete(device);
    this.deviceKeys.delete(device.keyLow, device.keyHigh, device);
    const isSeen = device.releasedAt > 0 && this.qualityOf(device) === 'observed';
    if (device.hasVdev && isSeen) this.unfreed.add(device);
    else this.vdevKeys.delete(device.vdevLow, device.vdevHigh, device);
    // Empty unless their ends were missed.
    for (const open of device.opens) this.endOpen(open);
    device.vm?.devices.delete(device);
    if (this.devicesByName.get(device.name) === device) this.devicesByName.delete(device.name);
    this.leaveGroup(device);
    device.lossesAtEnd = this.losses;
    this.endedDevices.add(device);
    const { parent } = device;
    if (!parent) return;
    parent.devices.delete(device);
    // Its withdrawal began before it was first seen, so nothing else will tell of its end.
    if (parent.state === 'unregistering' && !parent.unregisterBegan && parent.devices.size === 0) {
      parent.state = 'gone';
      this.endParent(parent);
    }
  }

  /** Its vfio_device was freed, or nothing will tell of that. */
  forgetUnfreed(device: Device): void {
    if (this.unfreed.delete(device)) {
      this.vdevKeys.delete(device.vdevLow, device.vdevHigh, device);
    }
  }

  /** Its key may be another's from now on. The device keeps it among its opens. */
  endOpen(open: Open): void {
    this.look?.endedKeys.set(open.keyLow, open.keyHigh, open);
    this.openKeys.delete(open.keyLow, open.keyHigh, open);
  }

  endVm(vm: Vm): void {
    this.look?.endedKeys.set(vm.keyLow, vm.keyHigh, vm);
    this.look?.endedMakers.add(vm.makerTid);
    this.vms.delete(vm);
    this.vmKeys.delete(vm.keyLow, vm.keyHigh, vm);
    vm.lossesAtEnd = this.losses;
    this.endedVms.add(vm);
  }

  endParent(parent: Parent): void {
    this.look?.endedNames.add(parent.name);
    this.parents.delete(parent);
    this.parentKeys.delete(parent.keyLow, parent.keyHigh, parent);
  }

  /**
   * Whether an event is about another device at the address of this one, whose release was
   * lost; it is over then.
   */
  isAnother(device: Device, event: EventCursor): boolean {
    if (this.losses === device.lossesBefore || !event.isNamed) return false;
    const name = event.name('device');
    if (name === '' || name === device.name) return false;
    this.#supersede(device);
    return true;
  }

  /** Its address belongs to another device now, so its release was missed. */
  #supersede(device: Device): void {
    device.state = 'released';
    this.endDevice(device);
  }

  leaveGroup(device: Device): void {
    const group = this.groups.get(device.groupId);
    if (group?.devices.delete(device) && group.devices.size === 0) this.groups.delete(group.id);
  }
}
