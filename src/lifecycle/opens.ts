/**
 * Device files, and the VM that a device captures when it is opened: drivers/vfio/vfio_main.c, group.c.
 *
 * The order of events on 6.12 is, for a first open: get_fd begin → kvm_capture → open begin → open
 * end → get_fd end; for a last close: close begin → close end → kvm_drop. An open that fails captures and
 * drops the VM if it is the first, and a bind of a cdev does so in any case: cdevs.ts.
 */
import type { EventCursor } from '../events/cursor.ts';
import { taskOf } from '../events/task.ts';
import { EVENT, POINT } from '../events/wire.gen.ts';
import { endOpen, joinGroup, setHeldVm, updateOpenCount, updateUseState } from './associate.ts';
import { DEVICE, OPEN } from './automata.ts';
import type { Handlers } from './handler.ts';
import { vmOf } from './kvm.ts';
import { type Device, Open, type Vm } from './objects.ts';
import { including } from './related.ts';
import { next } from './step.ts';
import type { Transition } from './transition.ts';
import { deviceOf } from './vfio.ts';
import type { World } from './world.ts';

const KEY_FILE = EVENT.file >> 2;

/**
 * The VM that an opened device holds a reference on. Kernels that do not show it (nor open_count, a
 * field of the same struct) leave only the VM that is set for its group.
 */
function heldVm(world: World, device: Device, event: EventCursor): Vm | undefined {
  const vm = vmOf(world, event);
  device.vmOfGroup = !vm && event.openCount < 0 && (device.vmOfGroup || !device.vm);
  if (vm || event.openCount >= 0) return vm;
  return device.vm ?? world.groups.get(device.groupId)?.vm;
}

/** Records that the device of the event now holds the VM of the event, or that it has dropped it. */
function setCapturedVm(
  world: World,
  event: EventCursor,
  transition: Transition,
  holds: boolean,
): void {
  const device = deviceOf(world, event);
  const vm = vmOf(world, event);
  if (!device) return;
  setHeldVm(device, holds ? vm : undefined, event.time);
  device.timeline.add(event, vm?.serial ?? 0);
  vm?.timeline.add(event, vm.serial);
  transition.device = device;
  transition.vm = vm;
}

/** Takes the step of the device that follows from its new open_count. */
function applyOpenCount(device: Device, transition: Transition): void {
  const input = device.openCount > 0 ? 'opened' : 'last close';
  if (device.isCreationUnobserved) updateUseState(device);
  else device.state = next(DEVICE, device.state, input, device, transition);
}

export const OPEN_HANDLERS: Handlers = {
  'vfio.device.get_fd:begin'(world, event, transition) {
    const request = {
      name: event.name('device'),
      cdev: undefined,
      hasOptions: event.hasOptions,
      groupId: event.groupId,
      task: taskOf(event),
      began: event.time,
      open: undefined,
      openError: 0,
      groupError: 0,
      hasBlockedGroup: false,
    };
    transition.request = request;
    transition.device = world.devices.named(request.name);
    const group = world.groups.get(request.groupId);
    if (group) group.requests++;
  },

  'vfio.device.get_fd:end'(world, event, transition) {
    const request = transition.call?.request;
    if (!request) return;
    transition.request = request;
    transition.device = request.open?.device ?? world.devices.named(request.name);
    transition.open = request.open;
    if (request.open) request.open.fd = event.ret;
    transition.device?.timeline.add(event, 0);
  },

  'vfio.device.kvm_capture:begin'(world, event, transition) {
    transition.device = deviceOf(world, event);
    transition.vm = vmOf(world, event);
    if (!transition.device) return;
    transition.device.vmOffered = transition.vm;
    transition.device.timeline.add(event, transition.vm?.serial ?? 0);
  },

  'vfio.device.kvm_capture:end'(world, event, transition) {
    const before = transition.call?.device?.vm;
    setCapturedVm(world, event, transition, true);
    const { device, vm } = transition;
    // A bind of a second file captures its VM before it is refused, also if the device holds one.
    if (before && device && event.openCount > 0 && vm === device.vmOffered)
      before.lostReferenceOf = device;
  },
  'vfio.device.kvm_drop:begin': (world, event, transition) =>
    setCapturedVm(world, event, transition, false),

  'vfio.device.open:begin'(world, event, transition) {
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
    device.timeline.add(event, open.vm?.serial ?? 0);
    const request = world.calls.requestOf(event.tid);
    if (request) request.open = open;
    open.requestedAt = requestedOfGroup(world, event.tid);
    transition.device = device;
    transition.open = open;
    transition.vm = open.vm;
  },

  'vfio.device.open:end'(world, event, transition) {
    const open =
      world.opens.find(event, KEY_FILE) ??
      openInFlight(transition, event) ??
      openWithoutBegin(world, event);
    if (!open) return;
    const device = open.device;
    if (event.ret >= 0) {
      open.state = next(OPEN, open.state, 'opened', open, transition);
      // Until 6.5 the VM of the device is known only when the open returns.
      open.foreign ||= event.isForeign;
      open.openedAt = event.time;
      device.opensTotal++;
      // Until 6.5 the file is created and the VM is set during the open, so the begin contained neither.
      setFileKey(world, open, event);
      open.vm = heldVm(world, device, event);
      setHeldVm(device, open.vm, event.time);
    }
    updateOpenCount(device, event);
    device.timeline.add(event, open.vm?.serial ?? 0);
    transition.device = device;
    transition.open = open;
    transition.vm = open.vm;
    if (event.ret < 0) {
      open.state = next(OPEN, open.state, 'open fails', open, transition);
      open.error = -event.ret;
      endOpen(world, open);
      const request = world.calls.requestOf(event.tid);
      if (request) request.openError = open.error;
    }
    applyOpenCount(device, transition);
  },

  'vfio.device.close:begin'(world, event, transition) {
    const device = deviceOf(world, event);
    if (!device) return;
    const open = world.opens.find(event, KEY_FILE) ?? newOpen(world, device, event, true);
    if (open.adopted && open.state === 'opening') open.state = 'open';
    open.state = next(OPEN, open.state, 'close begins', open, transition);
    open.closeBegan = event.time;
    if (world.snapshot?.pid === event.pid) world.snapshot.delayedCloses.add(device);
    // The offered VM concerned the open that now ends, and the begin of the next capture may be lost.
    device.vmOffered = undefined;
    device.timeline.add(event, device.vm?.serial ?? 0);
    transition.device = device;
    transition.open = open;
    transition.vm = device.vm;
  },

  'vfio.device.close:end'(world, event, transition) {
    const closing = transition.call?.device;
    const open = world.opens.find(event, KEY_FILE);
    if (!open) {
      // A host snapshot during the close has swept the open, but open_count is new all the same.
      if (closing) {
        updateOpenCount(closing, event);
        applyOpenCount(closing, transition);
      }
      return;
    }
    const device = open.device;
    open.state = next(OPEN, open.state, 'close ends', open, transition);
    open.closedAt = event.time;
    updateOpenCount(device, event);
    device.timeline.add(event, device.vm?.serial ?? 0);
    endOpen(world, open);
    applyOpenCount(device, transition);
    transition.device = device;
    transition.open = open;
    transition.vm = device.vm;
    // From 6.2 on the device still holds its VM here, and vfio.device.kvm_drop shows when it drops it.
    if (device.openCount === 0 && !event.has(EVENT.kvm)) setHeldVm(device, undefined, event.time);
  },
};

function newOpen(world: World, device: Device, event: EventCursor, adopted: boolean): Open {
  const open = addOpen(world, device, event, adopted);
  open.vm = heldVm(world, device, event);
  setHeldVm(device, open.vm, event.time);
  return open;
}

/** Adds an open without its VM, which the caller finds out. */
export function addOpen(world: World, device: Device, event: EventCursor, adopted: boolean): Open {
  const open = new Open(device, taskOf(event), event.time, adopted, world.losses);
  world.opens.add(open);
  setFileKey(world, open, event);
  device.opens = including(device.opens, open);
  return open;
}

/** The open that this thread began. If it has another key than the event, its own end was lost. */
function openInFlight({ call }: Transition, event: EventCursor): Open | undefined {
  const open = call?.open;
  const isOther = open && (open.keyLow !== 0 || open.keyHigh !== 0) && event.has(EVENT.file);
  return isOther ? undefined : open;
}

/** The open of which only the end was observed. */
function openWithoutBegin(world: World, event: EventCursor): Open | undefined {
  const device = event.ret >= 0 ? deviceOf(world, event) : undefined;
  const open = device && newOpen(world, device, event, true);
  if (open) open.requestedAt = requestedOfGroup(world, event.tid);
  return open;
}

/** When the thread requested an open of its group; 0 also while it binds a cdev, which it may have opened long before. */
function requestedOfGroup({ calls }: World, tid: number): number {
  return calls.of(tid, POINT.VFIO_DEVICE_GET_FD)?.began ?? 0;
}

function setFileKey(world: World, open: Open, event: EventCursor): void {
  if (!event.has(EVENT.file) || open.keyLow !== 0 || open.keyHigh !== 0) return;
  world.opens.setKey(open, event, KEY_FILE);
}
