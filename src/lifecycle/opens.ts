/**
 * Device files and the VM that a device is opened for: drivers/vfio/vfio_main.c, group.c.
 *
 * Order of a first open on 6.12: get_fd begin → kvm_capture → open begin → open end →
 * get_fd end; of a last close: close begin → close end → kvm_drop.
 */
import type { EventCursor } from '../events/cursor.ts';
import { EVENT } from '../events/wire.gen.ts';
import { DEVICE, next, OPEN } from './automata.ts';
import { joinGroup } from './groups.ts';
import { vmOf } from './kvm.ts';
import type { Moment } from './moment.ts';
import { type Device, Open, taskOf, type Vm } from './objects.ts';
import { deviceOf } from './vfio.ts';
import type { Handlers, World } from './world.ts';

const KEY_FILE = EVENT.file >> 2;

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
  device.vmOfGroup = !vm && event.openCount < 0 && (device.vmOfGroup || !device.vm);
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

/** What the number of device files now makes of the state. */
function recount(device: Device, moment: Moment): void {
  const input = device.openCount > 0 ? 'opened' : 'last closed';
  if (device.isCreationUnseen) settle(device);
  else device.state = next(DEVICE, device.state, input, device, moment);
}

export const OPEN_HANDLERS: Handlers = {
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
    if (!moment.device) return;
    moment.device.vmOffered = moment.vm;
    moment.device.timeline.add(event, moment.vm?.serial ?? 0);
  },

  'vfio.device.kvm_capture:end': (world, event, moment) => tie(world, event, moment, true),
  'vfio.device.kvm_drop:begin': (world, event, moment) => tie(world, event, moment, false),

  'vfio.device.open:begin'(world, event, moment) {
    const device = deviceOf(world, event);
    if (!device) return;
    joinGroup(world, device, event.groupId);
    const isFirst = device.opens.length === 0 && event.openCount <= 0;
    const open = newOpen(world, device, event, false);
    if (isFirst) {
      device.firstOpen = open;
      device.driverRefs = 0;
    }
    open.foreign = event.isForeign;
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
      open.state = next(OPEN, open.state, 'opened', open, moment);
      // Until 6.5 the VM is known only now.
      open.foreign ||= event.isForeign;
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
      open.state = next(OPEN, open.state, 'refused', open, moment);
      open.error = -event.ret;
      forget(world, open);
      const request = world.fetching.get(event.tid);
      if (request) request.openError = open.error;
    }
    recount(device, moment);
  },

  'vfio.device.close:begin'(world, event, moment) {
    const device = deviceOf(world, event);
    if (!device) return;
    const open =
      world.openKeys.find(event.u32, event.word + KEY_FILE) ?? newOpen(world, device, event, true);
    if (open.adopted && open.state === 'opening') open.state = 'open';
    open.state = next(OPEN, open.state, 'close begins', open, moment);
    open.closeBegan = event.time;
    if (world.look?.pid === event.pid) world.look.putOff.add(device);
    // It was for this open; the begin of the next capture may be lost.
    device.vmOffered = undefined;
    world.closing.set(event.tid, open);
    device.timeline.add(event, device.vm?.serial ?? 0);
    moment.device = device;
    moment.open = open;
    moment.vm = device.vm;
  },

  'vfio.device.close:end'(world, event, moment) {
    const closing = world.closing.get(event.tid)?.device;
    world.closing.delete(event.tid);
    const open = world.openKeys.find(event.u32, event.word + KEY_FILE);
    if (!open) {
      // A look did not find its file any more. How many are left is news all the same.
      if (closing) {
        countOpens(closing, event);
        recount(closing, moment);
      }
      return;
    }
    const device = open.device;
    open.state = next(OPEN, open.state, 'close ends', open, moment);
    open.closedAt = event.time;
    countOpens(device, event);
    device.timeline.add(event, device.vm?.serial ?? 0);
    forget(world, open);
    recount(device, moment);
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
