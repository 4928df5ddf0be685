/**
 * What a look at the host finds: objects that existed before the agent, and what
 * became of objects after events about them were lost.
 *
 * A look takes a while, and events go on meanwhile; it comes in when all events up
 * to its end have been taken in. What an event said later than the look saw holds.
 * Objects that were found are known from there on, without their history; objects
 * that may have ended unseen and were not found have ended. Those whose every event
 * arrived need no look to be right, so it takes nothing from them.
 */
import type { EventCursor } from '../events/cursor.ts';
import { DEVICE } from '../events/look-bits.ts';
import { EVENT } from '../events/wire.gen.ts';
import { joinGroup } from './groups.ts';
import { KeyTable } from './key-table.ts';
import { vmOf } from './kvm.ts';
import { endDeviceUnseen, endOpenUnseen, found, wasMissed } from './look.ts';
import type { Moment } from './moment.ts';
import { Device, Open, Parent, taskOf, Vm } from './objects.ts';
import { countOpens, countSeenOpens, enterOpen, hold, settle } from './opens.ts';
import { endLook } from './unseen.ts';
import { deviceOf } from './vfio.ts';
import type { Handlers, Look, World } from './world.ts';

const KEY_FILE = EVENT.file >> 2;
const KEY_KVM = EVENT.kvm >> 2;

function adoptDevice(world: World, event: EventCursor, name: string): Device {
  const device = new Device(event.time, true, world.losses);
  device.name = name;
  device.bus = event.name('bus');
  device.type = event.name('type');
  device.driver = event.name('driver');
  device.parentName = event.name('parent');
  for (const parent of world.parents) {
    if (device.isMdev && parent.name === device.parentName) device.parent = parent;
  }
  return device;
}

/** Other events find it by its name, until one tells its key. */
function enter(world: World, device: Device): void {
  device.parent?.devices.add(device);
  world.devices.add(device);
  world.devicesByName.set(device.name, device);
}

/** Whether its state may be another than its events told. */
function mayBeOtherwise(device: Device, look: Look): boolean {
  if (wasMissed(device, look) || device.isCreationUnseen) return true;
  // One on its way out may have had a successor, which looked like it while it was set up.
  return device.adopted && (device.foundBy === 0 || device.state === 'removing');
}

/** When an event last told what state it is in. */
function changedAt(device: Device): number {
  const { createBegan, createdAt, probeBegan, unbindBegan, unboundAt } = device;
  const { registeredAt, unregisterBegan, unregisteredAt } = device;
  return Math.max(
    ...[createBegan, createdAt, probeBegan, unbindBegan, unboundAt],
    ...[registeredAt, unregisterBegan, unregisteredAt],
  );
}

/** A UUID can be used anew, and an mdev never moves: the one that was known has ended unseen. */
function isOnAnotherParent(device: Device, event: EventCursor): boolean {
  const parent = event.name('parent');
  return device.isMdev && device.parentName !== '' && parent !== '' && parent !== device.parentName;
}

/** What told of its end until then was about a device of the same name, or was taken back. */
function forgetRemoval(device: Device, time: number): void {
  device.unregisterBegan = 0;
  device.unregisteredAt = 0;
  if (device.removeBegan < time) device.removeBegan = 0;
}

/** A device whose last events may be missing is in the state that sysfs shows. */
function correct(device: Device, event: EventCursor): void {
  const isLeaving = (event.ret & DEVICE.leaving) !== 0;
  if (device.isMdev && !isLeaving && event.name('type') === '') {
    // Its links in sysfs come last: its driver is still setting it up.
    // Unbound since, it is another of that name: the end of the one that was known is missing.
    if (device.createdAt > device.unboundAt) return;
    device.state = 'creating';
    forgetRemoval(device, event.time);
  } else if (isLeaving) {
    if (device.removeBegan === 0) device.removeBegan = event.time;
    device.state = 'removing';
  } else if (device.isMdev && event.name('driver') === '') {
    device.state = 'unbound';
  } else if (event.ret & DEVICE.removable || !device.isMdev || device.state === 'creating') {
    device.state = 'bound';
    forgetRemoval(device, event.time);
    settle(device);
  }
}

/** The VM that a device holds, as its file tells; not one that has ended since. */
function capturedVm(world: World, look: Look, event: EventCursor): Vm | undefined {
  const known = world.vmKeys.find(event.u32, event.word + KEY_KVM);
  if (known || hasEnded(look, event, KEY_KVM)) return known;
  const before = world.vms.size;
  const vm = vmOf(world, event);
  if (vm && world.vms.size > before) look.vmsOfDevices.add(vm);
  return vm;
}

/** What the device holds, unless an event has told since. */
function holdSeen(world: World, look: Look, open: Open, event: EventCursor): void {
  const { device } = open;
  const vm = capturedVm(world, look, event);
  const isTold = vm !== undefined || event.openCount >= 0;
  // Where the kernel does not tell what the device holds, its group does.
  device.vmOfGroup = !isTold;
  const holder = isTold ? vm : (device.vm ?? world.groups.get(device.groupId)?.vm);
  if (event.time >= device.heldAt) hold(device, holder, event.time);
  open.vm ??= device.vm;
}

/** Whether what the look saw under this key has ended since; else it is another of the same address. */
function hasEnded(look: Look, event: EventCursor, key: number): boolean {
  const life = look.endedKeys.find(event.u32, event.word + key);
  if (!life) return false;
  const at = life instanceof Open ? life.closeBegan : life instanceof Vm ? life.destroyBegan : 0;
  return at === 0 || event.time <= at;
}

function findOpen(world: World, look: Look, event: EventCursor): Open | undefined {
  const known = world.openKeys.find(event.u32, event.word + KEY_FILE);
  if (known?.device.name === event.name('device')) return known;
  if (known && event.time < known.firstSeen) return undefined;
  // Its address belongs to another by now, so its close was missed.
  if (known) endOpenUnseen(world, known, event);
  if (hasEnded(look, event, KEY_FILE)) return undefined;
  const isNew = !world.devicesByName.has(event.name('device'));
  if (isNew && look.endedNames.has(event.name('device'))) return undefined;
  const device = deviceOf(world, event);
  return device && enterOpen(world, device, event, true);
}

/** What has files has been created, though the end of that may be missing. */
function foundInUse(vm: Vm, look: Look): void {
  if (vm.state === 'creating') vm.state = 'running';
  found(vm, look);
}

function findVm(world: World, event: EventCursor, moment: Moment, hasFd: boolean): void {
  const { look } = world;
  if (!look || !event.has(EVENT.kvm)) return;
  let vm: Vm | undefined = world.vmKeys.find(event.u32, event.word + KEY_KVM);
  if (!vm) {
    if (hasEnded(look, event, KEY_KVM)) return;
    vm = vmOf(world, event);
    if (!vm) return;
    vm.task ??= taskOf(event);
    vm.timeline.add(event, vm.serial);
    vm.users = event.usersCount;
  } else if (event.time >= vm.timeline.lastTime()) {
    vm.users = event.usersCount;
  }
  look.vmsOfDevices.delete(vm);
  if (hasFd) {
    look.vmsWithFd.add(vm);
    if (vm.state === 'released' && event.time >= vm.fdClosedAt) {
      vm.state = 'running';
      vm.fdClosedAt = 0;
      vm.unheldAt = 0;
    }
  }
  foundInUse(vm, look);
  moment.vm = vm;
}

export const SEEN_HANDLERS: Handlers = {
  'seen.snapshot:begin'(world, event) {
    world.look = {
      number: ++world.looks,
      began: event.time,
      pid: event.pid,
      losses: world.losses,
      putOff: new Set(),
      endedNames: new Set(),
      endedKeys: new KeyTable(),
      endedMakers: new Set(),
      groupVms: [],
      vmsWithFd: new Set(),
      vmsOfDevices: new Set(),
      checked: new Set(),
      vmEntries: new Map(),
    };
  },
  'seen.parent:begin'(world, event, moment) {
    const { look } = world;
    if (!look) return;
    const name = event.name('parent');
    for (const parent of world.parents) {
      if (parent.name !== name) continue;
      const isStale = parent.unregisterBegan === 0 || wasMissed(parent, look);
      if (isStale && event.time >= parent.unregisterBegan && parent.state !== 'registered') {
        parent.state = 'registered';
        parent.unregisterBegan = 0;
        parent.teardownBegan = 0;
      }
      found(parent, look);
      moment.parent = parent;
      return;
    }
    if (look.endedNames.has(name)) return;
    const parent = new Parent(event.time, true, world.losses);
    parent.name = name;
    parent.driver = event.name('driver');
    parent.timeline.add(event, 0);
    world.parents.add(parent);
    found(parent, look);
    moment.parent = parent;
  },
  'seen.device:begin'(world, event, moment) {
    const { look } = world;
    if (!look) return;
    const name = event.name('device');
    let device = world.devicesByName.get(name);
    if (device && isOnAnotherParent(device, event)) {
      if (event.time < device.firstSeen) return;
      endDeviceUnseen(world, device, event);
      device = undefined;
    } else if (!device) {
      if (look.endedNames.has(name)) return;
      device = world.creationOf(name, event.name('parent'));
    }
    // It is freed, and only the end of its creation is to come, or was lost.
    if (device && device.releasedAt > 0) return;
    if (!device) {
      device = adoptDevice(world, event, name);
      enter(world, device);
      device.timeline.add(event, 0);
      joinGroup(world, device, event.groupId);
      correct(device, event);
    } else if (mayBeOtherwise(device, look) && event.time < changedAt(device)) {
      // It was set up when the look saw it, or on its way out already, so what came since
      // takes it apart.
      const wasSetUp = event.name('type') !== '' || (event.ret & DEVICE.leaving) !== 0;
      if (device.state === 'creating' && wasSetUp) device.state = 'removing';
    } else if (mayBeOtherwise(device, look)) {
      if (!world.devices.has(device)) enter(world, device);
      joinGroup(world, device, event.groupId);
      correct(device, event);
    }
    if (device.isMdev && device.inode === 0) device.inode = event.inode;
    found(device, look);
    moment.device = device;
  },
  'seen.open:begin'(world, event, moment) {
    const { look } = world;
    if (!look) return;
    const open = findOpen(world, look, event);
    if (!open) return;
    const { device } = open;
    const isNew = open.state === 'opening' && (open.adopted || wasMissed(open, look));
    if (isNew) {
      open.state = 'open';
      device.opensTotal++;
      device.timeline.add(event, 0);
    }
    if (open.fd < 0) open.fd = event.ret;
    if (isNew || wasMissed(device, look) || look.checked.has(device)) {
      joinGroup(world, device, event.groupId);
      holdSeen(world, look, open, event);
      if (event.openCount < 0) countSeenOpens(device);
      else if (event.time >= device.countedAt) countOpens(device, event);
      settle(device);
    } else if (device.adopted && event.openCount >= 0 && event.time >= device.countedAt) {
      // The end of a close that began before it was first seen is not told.
      countOpens(device, event);
    }
    if (device.vm) foundInUse(device.vm, look);
    found(open, look);
    found(device, look);
    moment.device = device;
    moment.open = open;
    moment.vm = open.vm;
  },
  'seen.group:begin'(world, event, moment) {
    const group = world.groups.get(event.groupId);
    if (!group) return;
    moment.group = group;
    // That it names none may mean that the kernel does not tell.
    if (!world.look || event.time < group.setAt || !event.has(EVENT.kvm)) return;
    const [low, high] = event.u32.subarray(event.word + KEY_KVM, event.word + KEY_KVM + 2);
    world.look.groupVms.push({ group, low, high, time: event.time });
  },
  'seen.vm:begin': (world, event, moment) => findVm(world, event, moment, true),
  'seen.vm_file:begin': (world, event, moment) => findVm(world, event, moment, false),
  'seen.vm_entry:begin'({ look }, event) {
    if (!look) return;
    look.vmEntries.set(event.vmPid, (look.vmEntries.get(event.vmPid) ?? 0) + 1);
  },
  'seen.snapshot:end': (world, event) => endLook(world, event),
};
