/**
 * Handlers for the records of a host snapshot: they adopt objects that existed before the agent, and
 * reconcile the state of objects about which events were lost.
 *
 * A snapshot takes a while, and events continue meanwhile. Its records are delivered after all events
 * up to its end, each with the time at which it was read. So the effect of an event that is later than
 * the record holds. Objects that the snapshot finds are tracked from then on, without their history.
 * Objects that it does not find have ended, if events about them may have been lost (see sweep.ts).
 * The state of an object all of whose events arrived is right, so a snapshot never changes it.
 */
import type { EventCursor } from '../events/cursor.ts';
import { taskOf } from '../events/task.ts';
import { DEVICE_STATE, EVENT } from '../events/wire.gen.ts';
import {
  countKnownOpens,
  joinGroup,
  setHeldVm,
  updateOpenCount,
  updateUseState,
} from './associate.ts';
import { addCdev } from './cdevs.ts';
import { addToDevices } from './groups.ts';
import type { Handlers } from './handler.ts';
import type { IommufdContext } from './iommufd-context.ts';
import { contextOf, KEY_CONTEXT } from './iommufds.ts';
import { KeyTable } from './key-table.ts';
import { vmOf } from './kvm.ts';
import { type Cdev, type Device, type Open, Parent, type Vm } from './objects.ts';
import { addOpen } from './opens.ts';
import {
  addDevice,
  adoptDevice,
  confirm,
  forgetUnregistration,
  mayHaveMissedEvents,
  sweepCdev,
  sweepDevice,
  sweepOpen,
} from './reconcile.ts';
import { endSnapshot } from './sweep.ts';
import { TEARDOWN_HANDLERS } from './teardowns.ts';
import type { Transition } from './transition.ts';
import { deviceOf } from './vfio.ts';
import type { Snapshot, World } from './world.ts';

const KEY_FILE = EVENT.file >> 2;
const KEY_KVM = EVENT.kvm >> 2;

/** Whether its state may differ from the one that its observed events led to. */
function mayDiffer(device: Device, snapshot: Snapshot): boolean {
  if (mayHaveMissedEvents(device, snapshot) || device.isCreationUnobserved) return true;
  // A device that is being removed may have been replaced by a successor of the same name meanwhile.
  return device.adopted && (device.foundBy === 0 || device.state === 'removing');
}

/** When an event last changed its state, ns on the boot-time clock. */
function changedAt(device: Device): number {
  const { createBegan, createdAt, probeBegan, unbindBegan, unboundAt } = device;
  const { registeredAt, unregisterBegan, unregisteredAt } = device;
  return Math.max(
    ...[createBegan, createdAt, probeBegan, unbindBegan, unboundAt],
    ...[registeredAt, unregisterBegan, unregisteredAt],
  );
}

/**
 * Whether the record shows the mdev below another parent than the known one. An mdev never moves, so the
 * known mdev has ended, and its UUID is in use again.
 */
function isOnAnotherParent(device: Device, event: EventCursor): boolean {
  const parent = event.name('parent');
  return device.isMdev && device.parentName !== '' && parent !== '' && parent !== device.parentName;
}

/** Forgets a removal that concerned an earlier device of the same name, or that was rolled back. */
function forgetRemoval(device: Device, time: number): void {
  device.unregisterBegan = 0;
  device.unregisteredAt = 0;
  if (device.removeBegan < time) device.removeBegan = 0;
  if (device.removeKnownBy === 'begin') return;
  device.removeKnownBy = 'begin';
  device.remover = undefined;
  device.unbindBegan = 0;
}

/** Puts a device into the state that sysfs shows, because its latest events may be missing. */
function reconcileDevice(device: Device, event: EventCursor): void {
  const isLeaving = (event.deviceState & DEVICE_STATE.LEAVING) !== 0;
  if (device.isMdev && !isLeaving && event.name('type') === '') {
    // A create adds the link to the mdev type after the probe of the driver, so a device without the link is
    // being created. If the known device has been unbound since it was created, this is a successor of the
    // same name, and the end of the known device is missing.
    if (device.createdAt > device.unboundAt) return;
    device.state = 'creating';
    forgetRemoval(device, event.time);
  } else if (isLeaving) {
    if (device.removeBegan === 0) device.removeBegan = event.time;
    device.state = 'removing';
  } else if (device.isMdev && event.name('driver') === '') {
    device.state = 'unbound';
  } else if (
    event.deviceState & DEVICE_STATE.REMOVABLE ||
    !device.isMdev ||
    device.state === 'creating'
  ) {
    device.state = 'bound';
    forgetRemoval(device, event.time);
    updateUseState(device);
  }
}

/** The VM that a device holds according to the record of its file, unless that VM has ended since. */
function capturedVm(world: World, snapshot: Snapshot, event: EventCursor): Vm | undefined {
  const known = world.vms.find(event, KEY_KVM);
  // The device held it when the record was read, and has put it since.
  if (known?.state === 'destroying' && event.time <= known.destroyBegan) return undefined;
  if (known || hasEnded(snapshot, event, KEY_KVM)) return known;
  const before = world.vms.size;
  const vm = vmOf(world, event);
  if (vm && world.vms.size > before) snapshot.vmsOfDevices.add(vm);
  return vm;
}

/** Records which VM the device holds, unless a later event has changed that. */
function reconcileHeldVm(world: World, snapshot: Snapshot, open: Open, event: EventCursor): void {
  const { device } = open;
  const vm = capturedVm(world, snapshot, event);
  // Kernels that do not show what the device itself holds leave only the VM of its group.
  const isShown = vm !== undefined || event.openCount >= 0;
  device.vmOfGroup = !isShown;
  const held = isShown ? vm : (device.vm ?? world.groups.get(device.groupId)?.vm);
  if (event.time >= device.heldAt) setHeldVm(device, held, event.time);
  open.vm ??= device.vm;
}

/**
 * Whether the object with this key has ended since the record was read. If not, the record is about another
 * object at the same address.
 */
function hasEnded(snapshot: Snapshot, event: EventCursor, key: number): boolean {
  const object = snapshot.endedKeys.find(event.words, event.word + key);
  if (!object) return false;
  const { endBegan } = object;
  return endBegan === 0 || event.time <= endBegan;
}

function findOpen(world: World, snapshot: Snapshot, event: EventCursor): Open | undefined {
  const known = world.opens.find(event, KEY_FILE);
  if (known?.device.name === event.name('device')) return known;
  if (known && event.time < known.firstSeen) return undefined;
  // Another file has its address now, so its close was missed.
  if (known) sweepOpen(world, known, event);
  if (hasEnded(snapshot, event, KEY_FILE)) return undefined;
  const isNew = world.devices.named(event.name('device')) === undefined;
  if (isNew && snapshot.endedNames.has(event.name('device'))) return undefined;
  const device = deviceOf(world, event);
  return device && addOpen(world, device, event, true);
}

/** Confirms a VM that has open files. So its creation has succeeded, even if the end of that is missing. */
function confirmInUse(vm: Vm, snapshot: Snapshot): void {
  if (vm.state === 'creating') vm.state = 'running';
  confirm(vm, snapshot);
}

function findVm(world: World, event: EventCursor, transition: Transition, hasFd: boolean): void {
  const { snapshot } = world;
  if (!snapshot || !event.has(EVENT.kvm)) return;
  let vm: Vm | undefined = world.vms.find(event, KEY_KVM);
  if (!vm) {
    if (hasEnded(snapshot, event, KEY_KVM)) return;
    vm = vmOf(world, event);
    if (!vm) return;
    vm.task ??= taskOf(event);
    vm.timeline.add(event, vm.serial);
    vm.users = event.usersCount;
  } else if (event.time >= vm.timeline.lastTime()) {
    vm.users = event.usersCount;
  }
  snapshot.vmsOfDevices.delete(vm);
  if (hasFd) {
    snapshot.vmsWithFd.add(vm);
    if (vm.state === 'zombie' && event.time >= vm.fdClosedAt) {
      vm.state = 'running';
      vm.fdClosedAt = 0;
    }
  }
  confirmInUse(vm, snapshot);
  transition.vm = vm;
}

/** A device file that a process has open, also a cdev that is bound. */
function foundOpen(world: World, event: EventCursor, transition: Transition): void {
  const { snapshot } = world;
  if (!snapshot) return;
  const open = findOpen(world, snapshot, event);
  if (!open) return;
  const { device } = open;
  const isNew = open.state === 'opening' && (open.adopted || mayHaveMissedEvents(open, snapshot));
  if (isNew) {
    open.state = 'open';
    device.opensTotal++;
    device.timeline.add(event, 0);
  }
  if (isNew || mayHaveMissedEvents(device, snapshot) || snapshot.checked.has(device)) {
    joinGroup(world, device, event.groupId);
    reconcileHeldVm(world, snapshot, open, event);
    if (event.openCount < 0) countKnownOpens(device);
    else if (event.time >= device.countedAt) updateOpenCount(device, event);
    updateUseState(device);
  } else if (device.adopted && event.openCount >= 0 && event.time >= device.countedAt) {
    // Closes that began before the agent was attached have no end event, so open_count is taken from here.
    updateOpenCount(device, event);
  }
  if (device.vm) confirmInUse(device.vm, snapshot);
  confirm(open, snapshot);
  confirm(device, snapshot);
  transition.device = device;
  transition.open = open;
  transition.vm = open.vm;
}

/** When an event last changed its state, ns on the boot-time clock. */
function cdevChangedAt({ openedAt, boundAt, attachedAt, closeBegan }: Cdev): number {
  return Math.max(openedAt, boundAt, attachedAt, closeBegan);
}

/** A device cdev that a process has open, bound or not. */
function foundCdev(world: World, event: EventCursor, transition: Transition): void {
  const { snapshot } = world;
  if (!snapshot) return;
  let cdev = world.cdevs.find(event, KEY_FILE);
  // The record is about a file that had this address before.
  if (cdev && event.time < cdev.firstSeen) return;
  if (cdev && cdev.device.name !== event.name('device')) {
    // Another file has its address now, so its close was missed.
    sweepCdev(world, cdev, event);
    cdev = undefined;
  }
  if (!cdev) {
    if (hasEnded(snapshot, event, KEY_FILE)) return;
    const isNew = world.devices.named(event.name('device')) === undefined;
    if (isNew && snapshot.endedNames.has(event.name('device'))) return;
    const device = deviceOf(world, event);
    if (!device) return;
    cdev = addCdev(world, device, event, true);
    device.timeline.add(event, 0);
  }
  const isLatest = event.time >= cdevChangedAt(cdev);
  const mayBeStale = cdev.state === 'opening' || mayHaveMissedEvents(cdev, snapshot);
  if (isLatest && mayBeStale) cdev.state = foundState(event);
  const context = foundContext(world, event);
  if (isLatest && cdev.isBound && (mayBeStale || !cdev.iommufd)) cdev.iommufd = context;
  if (cdev.fd < 0 && cdev.opener.pid === event.pid) cdev.fd = event.fd;
  confirm(cdev, snapshot);
  confirm(cdev.device, snapshot);
  transition.device = cdev.device;
  transition.cdev = cdev;
}

/** The context that a process has open, or that a device is bound to. */
function foundContext(world: World, event: EventCursor): IommufdContext | undefined {
  const { snapshot } = world;
  if (!snapshot) return undefined;
  const known = world.iommufds.find(event, KEY_CONTEXT);
  // The record is about a context that had this address before.
  if (known ? event.time < known.firstSeen : hasEnded(snapshot, event, KEY_CONTEXT))
    return undefined;
  const context = known ?? contextOf(world, event);
  if (!context) return undefined;
  if (mayHaveMissedEvents(context, snapshot) && context.opener?.pid !== event.pid) {
    // It may be another one at the address of the one that was opened.
    context.opener = undefined;
    context.openedAt = 0;
  }
  confirm(context, snapshot);
  return context;
}

function foundState({ deviceState }: EventCursor): Cdev['state'] {
  if (deviceState & DEVICE_STATE.ATTACHED) return 'attached';
  return deviceState & DEVICE_STATE.BOUND ? 'bound' : 'unbound';
}

export const SNAPSHOT_HANDLERS: Handlers = {
  'snapshot.run:begin'(world, event) {
    world.snapshot = {
      number: ++world.snapshots,
      began: event.time,
      pid: event.pid,
      losses: world.losses,
      delayedCloses: new Set(),
      endedNames: new Set(),
      endedKeys: new KeyTable(),
      endedCreators: new Set(),
      groupVms: [],
      vmsWithFd: new Set(),
      vmsOfDevices: new Set(),
      checked: new Set(),
      vmEntries: new Map(),
    };
  },
  'snapshot.parent:begin'(world, event, transition) {
    const { snapshot } = world;
    if (!snapshot) return;
    const name = event.name('parent');
    const known = world.parents.named(name);
    if (known) {
      const isStale = known.unregisterBegan === 0 || mayHaveMissedEvents(known, snapshot);
      if (isStale && event.time >= known.unregisterBegan && known.state !== 'registered') {
        forgetUnregistration(known);
      }
      confirm(known, snapshot);
      transition.parent = known;
      return;
    }
    if (snapshot.endedNames.has(name)) return;
    const parent = new Parent(event.time, true, world.losses);
    parent.name = name;
    parent.driver = event.name('driver');
    parent.timeline.add(event, 0);
    world.parents.add(parent);
    confirm(parent, snapshot);
    transition.parent = parent;
  },
  'snapshot.device:begin'(world, event, transition) {
    const { snapshot } = world;
    if (!snapshot) return;
    const name = event.name('device');
    let device = world.devices.named(name);
    if (device && isOnAnotherParent(device, event)) {
      if (event.time < device.firstSeen) return;
      sweepDevice(world, device, event);
      device = undefined;
    } else if (!device) {
      if (snapshot.endedNames.has(name)) return;
      device = world.creationOf(name, event.name('parent'));
    }
    // The device is freed already, and only the return of its create is pending or was lost.
    if (device && device.releasedAt > 0) return;
    if (!device) {
      device = adoptDevice(world, event, name);
      addDevice(world, device);
      device.timeline.add(event, 0);
      joinGroup(world, device, event.groupId);
      reconcileDevice(device, event);
    } else if (mayDiffer(device, snapshot) && event.time < changedAt(device)) {
      // The record shows a device that is created or being removed, and it is older than the latest event.
      // So that event belongs to a removal and not to the creation.
      const wasCreated =
        event.name('type') !== '' || (event.deviceState & DEVICE_STATE.LEAVING) !== 0;
      if (device.state === 'creating' && wasCreated) device.state = 'removing';
    } else if (mayDiffer(device, snapshot)) {
      if (!world.devices.has(device)) addDevice(world, device);
      joinGroup(world, device, event.groupId);
      reconcileDevice(device, event);
    }
    if (device.isMdev && device.inode === 0) device.inode = event.inode;
    confirm(device, snapshot);
    transition.device = device;
  },
  'snapshot.open:begin'(world, event, transition) {
    foundOpen(world, event, transition);
    if (transition.open && transition.open.fd < 0) transition.open.fd = event.fd;
  },
  'snapshot.cdev:begin'(world, event, transition) {
    foundCdev(world, event, transition);
    if (event.deviceState & DEVICE_STATE.BOUND) foundOpen(world, event, transition);
  },
  'snapshot.iommufd:begin'(world, event, transition) {
    const context = foundContext(world, event);
    if (!context) return;
    context.opener ??= taskOf(event);
    transition.iommufd = context;
  },
  'snapshot.group:begin'(world, event, transition) {
    const group = world.groups.get(event.groupId);
    if (!group) return;
    transition.group = group;
    if (!group.user && event.time >= group.closedAt) {
      group.closedAt = 0;
      group.opener = taskOf(event);
      group.openedAt = 0;
      group.userSince = event.time;
      addToDevices(group, event, group.vm);
    }
    // A record without a VM may mean that this kernel does not show the VM of a group.
    if (!world.snapshot || event.time < group.setAt || !event.has(EVENT.kvm)) return;
    const [low, high] = event.words.subarray(event.word + KEY_KVM, event.word + KEY_KVM + 2);
    world.snapshot.groupVms.push({ group, low, high, time: event.time });
  },
  'snapshot.vm:begin': (world, event, transition) => findVm(world, event, transition, true),
  'snapshot.vm_file:begin': (world, event, transition) => findVm(world, event, transition, false),
  'snapshot.vm_entry:begin'({ snapshot }, event) {
    if (!snapshot) return;
    snapshot.vmEntries.set(event.vmPid, (snapshot.vmEntries.get(event.vmPid) ?? 0) + 1);
  },
  ...TEARDOWN_HANDLERS,
  'snapshot.run:end': (world, event) => endSnapshot(world, event),
};
