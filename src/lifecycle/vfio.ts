/**
 * VFIO devices, their device files and their VM: drivers/vfio/vfio_main.c, group.c.
 *
 * Order of a first open on 6.12: get_fd begin → kvm_capture → open begin → open end →
 * get_fd end; of a last close: close begin → close end → kvm_drop.
 */
import type { EventCursor } from '../events/cursor.ts';
import { EVENT } from '../events/wire.gen.ts';
import { vmOf } from './kvm.ts';
import type { Moment } from './moment.ts';
import { Device, Open, taskOf, type Vm } from './objects.ts';
import type { Handlers, World } from './world.ts';

const KEY_DEV = EVENT.dev >> 2;
const KEY_VDEV = EVENT.vdev >> 2;
const KEY_FILE = EVENT.file >> 2;

/** The device of an event, made known if it existed before it was first seen. */
export function deviceOf(world: World, event: EventCursor): Device | undefined {
  const known =
    world.vdevKeys.find(event.u32, event.word + KEY_VDEV) ??
    world.deviceKeys.find(event.u32, event.word + KEY_DEV);
  if (!known || world.isAnother(known, event)) {
    return event.isNamed ? unknownDevice(world, event) : undefined;
  }
  if (known.vdevLow === 0 && known.vdevHigh === 0) joinVdev(world, known, event);
  return known;
}

/** Found in sysfs, which tells no key, or never seen. */
function unknownDevice(world: World, event: EventCursor): Device {
  const found = world.foundByName(event.name('device'));
  if (!found) return newDevice(world, event, true);
  world.enterDevice(found, event);
  joinVdev(world, found, event);
  return found;
}

function newDevice(world: World, event: EventCursor, adopted: boolean): Device {
  const device = new Device(event.time, adopted, world.losses);
  device.name = event.name('device');
  device.bus = event.name('bus');
  device.driver = event.name('driver');
  device.parentName = event.name('parent');
  world.enterDevice(device, event);
  joinVdev(world, device, event);
  return device;
}

/** A device that was found by its name; if there is none, a look that goes on must not find it. */
function unkeyedOrGone(world: World, event: EventCursor): Device | undefined {
  if (!event.isNamed) return undefined;
  const found = world.foundByName(event.name('device'));
  if (!found && event.name('bus') !== 'mdev') world.look?.endedNames.add(event.name('device'));
  return found;
}

function joinVdev(world: World, device: Device, event: EventCursor): void {
  // Kernels that pass the struct device around do not tell it.
  if (!event.has(EVENT.vdev)) return;
  world.vdevKeys.delete(device.vdevLow, device.vdevHigh, device);
  device.vdevLow = event.u32[event.word + KEY_VDEV];
  device.vdevHigh = event.u32[event.word + KEY_VDEV + 1];
  world.vdevKeys.set(device.vdevLow, device.vdevHigh, device);
}

export function joinGroup(world: World, device: Device, id: number): void {
  // It keeps the number of the group that it left, to be shown.
  if (id < 0 || world.groups.get(id)?.devices.has(device)) return;
  world.leaveGroup(device);
  device.groupId = id;
  world.group(id).devices.add(device);
}

/** As the kernel counts, or where it does not tell, as many as were seen. */
export function countOpens(device: Device, event: EventCursor): void {
  if (event.openCount < 0) {
    countSeenOpens(device);
    return;
  }
  device.openCount = event.openCount;
  device.countedAt = event.time;
}

export function countSeenOpens(device: Device): void {
  let count = 0;
  for (const { state } of device.opens) if (state === 'open' || state === 'closing') count++;
  device.openCount = count;
}

/**
 * The VM of an opened device: what the kernel says that the device holds. Where it
 * cannot say (its open_count, beside it, is unknown too), what its group has.
 */
function heldVm(world: World, device: Device, event: EventCursor): Vm | undefined {
  const vm = vmOf(world, event);
  device.vmOfGroup = !vm && event.openCount < 0 && !device.vm;
  if (vm || event.openCount >= 0) return vm;
  return device.vm ?? world.groups.get(device.groupId)?.vm;
}

/** @param time since when that is known */
export function hold(device: Device, vm: Vm | undefined, time: number): void {
  device.heldAt = time;
  if (device.vm === vm) return;
  device.vm?.devices.delete(device);
  device.vm = vm;
  vm?.devices.add(device);
}

/** Ties the device to the VM of the event, or unties it from that. */
function tie(world: World, event: EventCursor, moment: Moment, holds: boolean): void {
  const device = deviceOf(world, event);
  const vm = vmOf(world, event);
  if (!device) return;
  hold(device, holds ? vm : undefined, event.time);
  device.timeline.add(event, vm?.serial ?? 0);
  vm?.timeline.add(event, vm.serial);
  moment.device = device;
  moment.vm = vm;
}

/** Open or bound, as the number of device files says, unless something stronger holds. */
export function settle(device: Device): void {
  const isSetUp = device.isCreationUnseen && device.openCount > 0;
  if (device.state === 'bound' || device.state === 'open' || isSetUp) {
    device.state = device.openCount > 0 ? 'open' : 'bound';
  }
}

function beginRegister(world: World, event: EventCursor, moment: Moment): void {
  const known = world.deviceKeys.find(event.u32, event.word + KEY_DEV);
  // An mdev has been created before it registers: not to know it is to have missed that.
  const isMdev = event.name('bus') === 'mdev';
  const device = known?.isMdev ? known : newDevice(world, event, isMdev);
  joinVdev(world, device, event);
  device.registeredAt = 0;
  device.unregisterBegan = 0;
  device.unregisteredAt = 0;
  device.timeline.add(event, 0);
  moment.device = device;
}

function endRegister(world: World, event: EventCursor, moment: Moment): void {
  const device = deviceOf(world, event);
  if (!device) return;
  device.timeline.add(event, 0);
  moment.device = device;
  if (event.ret === 0) {
    device.registeredAt = event.time;
    joinGroup(world, device, event.groupId);
  }
}

export const VFIO_HANDLERS: Handlers = {
  'vfio.register:begin': beginRegister,
  'vfio.register:end': endRegister,
  'vfio.register_emulated:begin': beginRegister,
  'vfio.register_emulated:end': endRegister,

  'vfio.unregister:begin'(world, event, moment) {
    const device = deviceOf(world, event);
    if (!device) return;
    device.unregisterBegan = event.time;
    device.unregisteredAt = 0;
    countOpens(device, event);
    joinGroup(world, device, event.groupId);
    if (!device.isMdev) {
      device.state = 'removing';
      device.removeBegan = event.time;
      device.remover = taskOf(event);
    } else if (device.state !== 'creating') {
      // Its driver lets go of it; that this began was not seen if the state is another.
      device.state = 'removing';
    }
    device.timeline.add(event, 0);
    moment.device = device;
  },

  'vfio.unregister:end'(world, event, moment) {
    const device = deviceOf(world, event);
    if (!device) return;
    device.unregisteredAt = event.time;
    countOpens(device, event);
    world.leaveGroup(device);
    device.timeline.add(event, 0);
    moment.device = device;
    if (device.unregisterBegan) moment.duration = event.time - device.unregisterBegan;
  },

  'vfio.release:begin'(world, event, moment) {
    const device =
      world.vdevKeys.find(event.u32, event.word + KEY_VDEV) ??
      world.deviceKeys.find(event.u32, event.word + KEY_DEV) ??
      unkeyedOrGone(world, event);
    if (!device) return;
    device.timeline.add(event, 0);
    moment.device = device;
    world.vdevKeys.delete(device.vdevLow, device.vdevHigh, device);
    device.vdevLow = 0;
    device.vdevHigh = 0;
    if (!device.isMdev) {
      device.releasedAt = event.time;
      device.state = device.registeredAt || device.adopted ? 'released' : 'failed';
      world.endDevice(device);
    }
  },

  'vfio.group.open:end'(world, event, moment) {
    moment.group = world.groups.get(event.groupId);
  },

  'vfio.group.set_kvm:begin'(world, event, moment) {
    const vm = vmOf(world, event);
    const group = world.groups.get(event.groupId) ?? (vm && world.group(event.groupId));
    if (!group) return;
    moment.group = group;
    moment.vm = vm ?? group.vm;
    group.vm = vm;
    group.setAt = event.time;
    group.clearedByExitAt = !vm && event.isExiting ? event.time : 0;
    for (const device of group.devices) {
      device.timeline.add(event, vm?.serial ?? 0);
      if (device.vmOfGroup && device.opens.length > 0) hold(device, vm, event.time);
    }
    moment.vm?.timeline.add(event, moment.vm.serial);
    if (!vm && group.devices.size === 0) world.groups.delete(group.id);
  },

  'vfio.device.get_fd:begin'(world, event, moment) {
    const request = {
      began: event.time,
      name: event.name('device'),
      groupId: event.groupId,
      task: taskOf(event),
      open: undefined,
      openError: 0,
    };
    world.fetching.set(event.tid, request);
    moment.request = request;
    moment.device = world.devicesByName.get(request.name);
  },

  'vfio.device.get_fd:end'(world, event, moment) {
    const request = world.fetching.get(event.tid);
    if (!request) return;
    world.fetching.delete(event.tid);
    moment.request = request;
    moment.device = request.open?.device ?? world.devicesByName.get(request.name);
    moment.open = request.open;
    moment.duration = event.time - request.began;
    if (request.open) request.open.fd = event.ret;
    moment.device?.timeline.add(event, 0);
  },

  'vfio.device.kvm_capture:begin'(world, event, moment) {
    moment.device = deviceOf(world, event);
    moment.vm = vmOf(world, event);
    moment.device?.timeline.add(event, moment.vm?.serial ?? 0);
  },

  'vfio.device.kvm_capture:end': (world, event, moment) => tie(world, event, moment, true),
  'vfio.device.kvm_drop:begin': (world, event, moment) => tie(world, event, moment, false),

  'vfio.device.open:begin'(world, event, moment) {
    const device = deviceOf(world, event);
    if (!device) return;
    joinGroup(world, device, event.groupId);
    const open = newOpen(world, device, event, false);
    world.opening.set(event.tid, open);
    device.timeline.add(event, open.vm?.serial ?? 0);
    const request = world.fetching.get(event.tid);
    if (request) request.open = open;
    moment.device = device;
    moment.open = open;
    moment.vm = open.vm;
  },

  'vfio.device.open:end'(world, event, moment) {
    const open =
      world.openKeys.find(event.u32, event.word + KEY_FILE) ??
      openInFlight(world, event) ??
      unseenOpen(world, event);
    if (!open) return;
    world.opening.delete(event.tid);
    const device = open.device;
    if (event.ret >= 0) {
      open.state = 'open';
      open.openedAt = event.time;
      device.opensTotal++;
      // Until 6.5 the file comes to be, and the VM is told, only in the course of the open.
      keyOpen(world, open, event);
      open.vm = heldVm(world, device, event);
      hold(device, open.vm, event.time);
    }
    countOpens(device, event);
    device.timeline.add(event, open.vm?.serial ?? 0);
    moment.device = device;
    moment.open = open;
    moment.vm = open.vm;
    moment.duration = event.time - open.firstSeen;
    if (event.ret < 0) {
      open.state = 'failed';
      open.error = -event.ret;
      forget(world, open);
      const request = world.fetching.get(event.tid);
      if (request) request.openError = open.error;
    }
    settle(device);
  },

  'vfio.device.close:begin'(world, event, moment) {
    const device = deviceOf(world, event);
    if (!device) return;
    const open =
      world.openKeys.find(event.u32, event.word + KEY_FILE) ?? newOpen(world, device, event, true);
    open.state = 'closing';
    open.closeBegan = event.time;
    device.timeline.add(event, device.vm?.serial ?? 0);
    moment.device = device;
    moment.open = open;
    moment.vm = device.vm;
  },

  'vfio.device.close:end'(world, event, moment) {
    const open = world.openKeys.find(event.u32, event.word + KEY_FILE);
    if (!open) return;
    const device = open.device;
    open.state = 'closed';
    open.closedAt = event.time;
    countOpens(device, event);
    device.timeline.add(event, device.vm?.serial ?? 0);
    forget(world, open);
    settle(device);
    moment.device = device;
    moment.open = open;
    moment.vm = device.vm;
    moment.duration = event.time - open.closeBegan;
    // From 6.2 on it still holds its VM now, and says when it lets go.
    if (device.openCount === 0 && !event.has(EVENT.kvm)) hold(device, undefined, event.time);
  },
};

function newOpen(world: World, device: Device, event: EventCursor, adopted: boolean): Open {
  const open = enterOpen(world, device, event, adopted);
  open.vm = heldVm(world, device, event);
  hold(device, open.vm, event.time);
  return open;
}

/** Whose VM is not known yet. */
export function enterOpen(
  world: World,
  device: Device,
  event: EventCursor,
  adopted: boolean,
): Open {
  const open = new Open(device, taskOf(event), event.time, adopted, world.losses);
  keyOpen(world, open, event);
  device.opens.push(open);
  return open;
}

/** That of this thread, unless it has another key: then its end was lost. */
function openInFlight(world: World, event: EventCursor): Open | undefined {
  const open = world.opening.get(event.tid);
  const isOther = open && (open.keyLow !== 0 || open.keyHigh !== 0) && event.has(EVENT.file);
  return isOther ? undefined : open;
}

/** A device file whose begin was lost. */
function unseenOpen(world: World, event: EventCursor): Open | undefined {
  const device = event.ret >= 0 ? deviceOf(world, event) : undefined;
  return device && newOpen(world, device, event, true);
}

function keyOpen(world: World, open: Open, event: EventCursor): void {
  if (!event.has(EVENT.file) || open.keyLow !== 0 || open.keyHigh !== 0) return;
  open.keyLow = event.u32[event.word + KEY_FILE];
  open.keyHigh = event.u32[event.word + KEY_FILE + 1];
  world.openKeys.set(open.keyLow, open.keyHigh, open);
}

export function forget(world: World, open: Open): void {
  world.endOpen(open);
  const index = open.device.opens.indexOf(open);
  if (index >= 0) open.device.opens.splice(index, 1);
}
