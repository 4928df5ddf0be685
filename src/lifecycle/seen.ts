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
import { EVENT } from '../events/wire.gen.ts';
import { KeyTable } from './key-table.ts';
import { newVm, vmOf } from './kvm.ts';
import type { Moment } from './moment.ts';
import { Device, type Life, Parent, taskOf, type Vm } from './objects.ts';
import {
  countOpens,
  countSeenOpens,
  deviceOf,
  forget,
  hold,
  joinGroup,
  newOpen,
  settle,
} from './vfio.ts';
import type { Handlers, Look, World } from './world.ts';

/** enum device_state of bpf/event.h. */
const REMOVABLE = 1;
const LEAVING = 2;

/** enum seen of bpf/event.h. */
const SYSFS = 1;
const FILES = 2;
const DEBUGFS = 4;

const KEY_FILE = EVENT.file >> 2;
const KEY_KVM = EVENT.kvm >> 2;

/** Its state is as the look saw it, and losses before that no longer matter. */
function found(life: Life, look: Look): void {
  life.foundBy = look.number;
  if (life.lossesBefore >= look.losses) return;
  life.lossesBefore = look.losses;
  life.adopted = true;
}

/** Whether events about it may be missing, so that only the look tells whether it still is. */
function isDoubtful(life: Life, look: Look): boolean {
  return (
    life.foundBy !== look.number && life.lossesBefore < look.losses && life.firstSeen < look.began
  );
}

function isBeingCreated(world: World, name: string): boolean {
  for (const device of world.creating.values()) if (device.name === name) return true;
  return false;
}

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
  device.parent?.devices.add(device);
  world.devices.add(device);
  world.devicesByName.set(name, device);
  return device;
}

/** A device whose last events may be missing is in the state that sysfs shows. */
function correct(device: Device, event: EventCursor): void {
  if (event.ret & LEAVING) {
    if (device.removeBegan === 0) device.removeBegan = event.time;
    device.state = 'removing';
  } else if (device.isMdev && event.name('type') === '') {
    // Its links in sysfs come last: its driver is still setting it up.
    if (device.createdAt === 0) device.state = 'creating';
  } else if (device.isMdev && event.name('driver') === '') {
    device.state = 'unbound';
  } else if (event.ret & REMOVABLE || device.state === 'creating') {
    device.state = 'bound';
    device.unregisterBegan = 0;
    device.removeBegan = 0;
    settle(device);
  }
}

function moreVmsThanKnown(world: World, tid: number, entries: number): boolean {
  let known = 0;
  for (const vm of world.vms) if (vm.makerTid === tid) known++;
  return known < entries;
}

/** The VMs that nobody has a file of, as far as could be seen, but that the kernel lists. */
function endLookAtVms(world: World, look: Look, event: EventCursor, listed: boolean): void {
  for (const [tid, entries] of look.vmEntries) {
    for (const vm of world.vms) if (vm.makerTid === tid) found(vm, look);
    if (look.endedMakers.has(tid)) continue;
    while (moreVmsThanKnown(world, tid, entries)) {
      const vm = newVm(world, event, true);
      vm.makerTid = tid;
      vm.state = 'released';
      vm.fdClosedAt = look.began;
      found(vm, look);
    }
  }
  for (const vm of world.vms) {
    if (vm.foundBy === look.number && vm.adopted && !look.vmsWithFd.has(vm)) {
      vm.state = 'released';
      if (vm.fdClosedAt === 0) vm.fdClosedAt = look.began;
    }
    if (!listed || !isDoubtful(vm, look)) continue;
    vm.state = 'destroyed';
    vm.destroyBegan = event.time;
    world.endVm(vm);
  }
}

function endLookAtOpens(world: World, look: Look, event: EventCursor): void {
  for (const device of world.devices) {
    const lost = device.opens.filter((open) => isDoubtful(open, look) && open.state !== 'opening');
    if (lost.length === 0) continue;
    for (const open of lost) {
      open.state = 'closed';
      open.closedAt = event.time;
      forget(world, open);
    }
    countSeenOpens(device);
    settle(device);
    if (device.openCount === 0) hold(device, undefined);
  }
}

function endLookAtDevices(world: World, look: Look, event: EventCursor): void {
  for (const device of world.devices) {
    if (!isDoubtful(device, look)) continue;
    device.state = 'released';
    device.releasedAt = event.time;
    world.endDevice(device);
  }
  for (const parent of world.parents) {
    if (!isDoubtful(parent, look)) continue;
    parent.state = 'gone';
    world.endParent(parent);
  }
}

export const SEEN_HANDLERS: Handlers = {
  'seen.snapshot:begin'(world, event) {
    world.look = {
      number: ++world.looks,
      began: event.time,
      losses: world.losses,
      endedNames: new Set(),
      endedKeys: new KeyTable(),
      endedMakers: new Set(),
      vmsWithFd: new Set(),
      vmEntries: new Map(),
    };
  },
  'seen.parent:begin'(world, event, moment) {
    const { look } = world;
    if (!look) return;
    const name = event.name('parent');
    for (const parent of world.parents) {
      if (parent.name !== name) continue;
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
    if (device) {
      if (device.lossesBefore < look.losses) correct(device, event);
    } else {
      if (look.endedNames.has(name) || isBeingCreated(world, name)) return;
      device = adoptDevice(world, event, name);
      device.timeline.add(event, 0);
      correct(device, event);
    }
    joinGroup(world, device, event.groupId);
    found(device, look);
    moment.device = device;
  },
  'seen.open:begin'(world, event, moment) {
    const { look } = world;
    if (!look) return;
    let open = world.openKeys.find(event.u32, event.word + KEY_FILE);
    if (!open) {
      if (look.endedKeys.find(event.u32, event.word + KEY_FILE)) return;
      const device = deviceOf(world, event);
      if (!device) return;
      // What it holds may have changed since the look, but then an event has told.
      const isNews = event.time >= device.timeline.lastTime();
      const { vm } = device;
      open = newOpen(world, device, event, true);
      if (!isNews) hold(device, vm);
      open.state = 'open';
      open.fd = event.ret;
      device.opensTotal++;
      joinGroup(world, device, event.groupId);
      if (isNews) countOpens(device, event);
      else countSeenOpens(device);
      settle(device);
      device.timeline.add(event, open.vm?.serial ?? 0);
    }
    found(open, look);
    found(open.device, look);
    moment.device = open.device;
    moment.open = open;
    moment.vm = open.vm;
  },
  'seen.group:begin'(world, event, moment) {
    const group = world.groups.get(event.groupId);
    if (!group) return;
    moment.group = group;
    if (event.time >= group.setAt) group.vm = vmOf(world, event);
  },
  'seen.vm:begin': (world, event, moment) => findVm(world, event, moment, true),
  'seen.vm_file:begin': (world, event, moment) => findVm(world, event, moment, false),
  'seen.vm_entry:begin'({ look }, event) {
    if (!look) return;
    look.vmEntries.set(event.vmPid, (look.vmEntries.get(event.vmPid) ?? 0) + 1);
  },
  'seen.snapshot:end'(world, event) {
    const { look } = world;
    if (!look) return;
    if (event.ret & FILES) endLookAtOpens(world, look, event);
    if (event.ret & SYSFS) endLookAtDevices(world, look, event);
    if (event.ret & FILES) endLookAtVms(world, look, event, (event.ret & DEBUGFS) !== 0);
    if ((event.ret & SYSFS) !== 0 && (event.ret & FILES) !== 0) world.lossesPutRight = look.losses;
    world.look = undefined;
  },
};

function findVm(world: World, event: EventCursor, moment: Moment, hasFd: boolean): void {
  const { look } = world;
  if (!look || !event.has(EVENT.kvm)) return;
  let vm: Vm | undefined = world.vmKeys.find(event.u32, event.word + KEY_KVM);
  if (!vm) {
    if (look.endedKeys.find(event.u32, event.word + KEY_KVM)) return;
    vm = newVm(world, event, true);
    vm.task = taskOf(event);
    vm.timeline.add(event, vm.serial);
    vm.users = event.usersCount;
  } else if (event.time >= vm.timeline.lastTime()) {
    vm.users = event.usersCount;
  }
  if (hasFd) look.vmsWithFd.add(vm);
  found(vm, look);
  moment.vm = vm;
}
