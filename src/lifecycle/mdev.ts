/**
 * Parents and mediated devices (mdevs): drivers/vfio/mdev/mdev_core.c.
 *
 * The order of events on 6.1 and later is: create begin → probe begin → vfio register → probe end →
 * create end; remove begin → unbind begin → vfio unregister → unbind end →
 * release → remove end. A create that fails releases the device before it returns.
 */
import type { EventCursor } from '../events/cursor.ts';
import { taskOf } from '../events/task.ts';
import { EVENT, POINT } from '../events/wire.gen.ts';
import { addKeyedDevice } from './associate.ts';
import { DEVICE, PARENT } from './automata.ts';
import type { Handlers } from './handler.ts';
import { Device, Parent } from './objects.ts';
import { next } from './step.ts';
import type { Transition } from './transition.ts';
import type { World } from './world.ts';

const KEY_DEV = EVENT.dev >> 2;
const KEY_PARENT = EVENT.parent >> 2;

function newParent(world: World, event: EventCursor, adopted: boolean): Parent {
  const parent = new Parent(event.time, adopted, world.losses);
  if (event.isNamed) {
    parent.name = event.name('parent');
    parent.driver = event.name('driver');
  }
  world.parents.addWithKey(parent, event, KEY_PARENT);
  return parent;
}

function parentOf(world: World, event: EventCursor): Parent | undefined {
  if (!event.has(EVENT.parent)) return undefined;
  const known = world.parents.find(event, KEY_PARENT);
  if (known || !event.isNamed) return known;
  // A parent that was found in sysfs has no key until an event names it.
  const found = world.parents.namedWithoutKey(event.name('parent'));
  if (found) {
    world.parents.setKey(found, event, KEY_PARENT);
    return found;
  }
  const parent = newParent(world, event, true);
  // sysfs has been read, so a registered parent would be known. This one is being unregistered.
  const isHidden = world.knowsParents && event.point !== POINT.MDEV_CREATE;
  if (isHidden || event.point === POINT.MDEV_REMOVE_CHILD) parent.state = 'unregistering';
  return parent;
}

function newMdev(world: World, event: EventCursor, adopted: boolean): Device {
  const device = new Device(event.time, adopted, world.losses);
  device.bus = 'mdev';
  device.type = event.name('type');
  device.parentName = event.name('parent');
  device.driver = event.name('driver');
  device.parent = parentOf(world, event);
  return device;
}

/**
 * The mdev that the event concerns. It is adopted if this is the first event about it and the event names
 * it.
 */
function mdevOf(world: World, event: EventCursor): Device | undefined {
  const known = world.devices.find(event, KEY_DEV);
  if (known && !world.supersedeIfReused(known, event)) {
    // It may have been adopted from a VFIO event, which does not contain the mdev type.
    if (known.type === '' && event.isNamed) setTypeAndParent(world, known, event);
    if (event.isNamed) setInode(known, event);
    return known;
  }
  if (!event.isNamed) return undefined;
  const name = event.name('device');
  // A device appears in sysfs before its creation reaches mdev.probe, the first event that contains its
  // key. If a removal overtakes the creation, an event of the removal is the first one with the key.
  const device =
    world.creationOf(name, event.name('parent')) ??
    mdevByName(world, event, name) ??
    newMdev(world, event, true);
  device.name = name;
  if (device.type === '' || !device.parent) setTypeAndParent(world, device, event);
  setInode(device, event);
  addKeyedDevice(world, device, event);
  return device;
}

/** Keeps the first inode number: a device that is being removed has no sysfs directory any more. */
function setInode(device: Device, event: EventCursor): void {
  if (device.inode === 0) device.inode = event.inode;
}

/**
 * A live mdev of that name whose key is unknown or unsure. An mdev.probe under a key other than the one
 * that the mdev has is about a new device of the same name.
 */
function mdevByName(world: World, event: EventCursor, name: string): Device | undefined {
  const found = world.devices.namedWithoutKey(name);
  const isKeyless = found?.keyLow === 0 && found.keyHigh === 0;
  return isKeyless || event.point !== POINT.MDEV_PROBE ? found : undefined;
}

/**
 * The device that this thread is creating, if the event is about it. After a loss the end of that
 * creation may be missing, so the names are compared as well.
 */
function createdBy(world: World, event: EventCursor): Device | undefined {
  const created = world.calls.of(event.tid, POINT.MDEV_CREATE)?.device;
  if (!created || world.losses === created.lossesBefore) return created;
  const name = event.name('device');
  return name === '' || name === created.name ? created : undefined;
}

function setTypeAndParent(world: World, device: Device, event: EventCursor): void {
  device.type = event.name('type');
  device.driver = event.name('driver');
  device.parent = parentOf(world, event);
  device.parent?.devices.add(device);
}

/** Whether the thread is in a call that removes the device, alone or with its parent. */
function isRemoving({ calls }: World, tid: number, device: Device): boolean {
  const removal = calls.of(tid, POINT.MDEV_REMOVE) ?? calls.of(tid, POINT.MDEV_REMOVE_CHILD);
  return removal?.device === device;
}

function beginRemove(world: World, event: EventCursor, transition: Transition): void {
  const device = mdevOf(world, event);
  if (!device) return;
  device.stateAtRemove = device.state;
  if (device.state !== 'removing') {
    device.removeBegan = event.time;
    device.remover = taskOf(event);
  }
  device.timeline.add(event, 0);
  transition.device = device;
}

function endRemove(_world: World, event: EventCursor, transition: Transition): void {
  const device = transition.call?.device;
  if (!device) return;
  device.timeline.add(event, 0);
  transition.device = device;
  if (event.ret < 0) {
    device.removeError = -event.ret;
    device.removeFailedAt = event.time;
    return;
  }
  device.removedAt = event.time;
}

export const MDEV_HANDLERS: Handlers = {
  'mdev.parent.register:begin'(world, event, transition) {
    const parent = newParent(world, event, false);
    parent.state = 'registering';
    parent.timeline.add(event, 0);
    transition.parent = parent;
  },

  'mdev.parent.register:end'(world, event, transition) {
    const parent = world.parents.find(event, KEY_PARENT);
    if (!parent) return;
    parent.timeline.add(event, 0);
    transition.parent = parent;
    if (event.ret < 0) {
      parent.state = next(PARENT, parent.state, 'register fails', parent, transition);
      world.parents.end(parent);
    } else {
      parent.state = next(PARENT, parent.state, 'registered', parent, transition);
      parent.registeredAt = event.time;
    }
  },

  'mdev.parent.unregister:begin'(world, event, transition) {
    const parent = parentOf(world, event);
    if (!parent) return;
    parent.state = next(PARENT, parent.state, 'unregister begins', parent, transition);
    parent.unregisterBegan = event.time;
    parent.remover = taskOf(event);
    parent.timeline.add(event, 0);
    transition.parent = parent;
  },

  'mdev.parent.unregister:end'(world, event, transition) {
    const parent = world.parents.find(event, KEY_PARENT);
    if (!parent) return;
    parent.state = next(PARENT, parent.state, 'unregister ends', parent, transition);
    parent.unregisteredAt = event.time;
    parent.timeline.add(event, 0);
    transition.parent = parent;
    world.parents.end(parent);
  },

  'mdev.create:begin'(world, event, transition) {
    const device = newMdev(world, event, false);
    device.name = event.uuid();
    device.state = 'creating';
    device.createBegan = event.time;
    device.creator = taskOf(event);
    device.holder = world.devices.named(device.name);
    device.timeline.add(event, 0);
    transition.device = device;
    transition.parent = device.parent;
  },

  'mdev.create:end'(world, event, transition) {
    const device = transition.call?.device;
    if (!device) return;
    device.timeline.add(event, 0);
    transition.device = device;
    transition.parent = device.parent;
    if (device.isOver) return;
    if (event.ret < 0) {
      device.createError = -event.ret;
      device.createFailedAt = event.time;
      // Once the driver was probed, the core holds a reference, which it puts before the create returns.
      // If the device was not released by that, something else holds a reference.
      const isStillReferenced = device.probeBegan > 0 && device.releasedAt === 0;
      const input = isStillReferenced ? 'create fails but still referenced' : 'create fails';
      device.state = next(DEVICE, device.state, input, device, transition);
      if (!isStillReferenced) world.devices.end(device);
      return;
    }
    device.createdAt = event.time;
    if (device.releasedAt > 0) {
      // A removal overtook the return of the create and has already freed the device.
      device.state = next(DEVICE, device.state, 'create returns after free', device, transition);
      world.devices.end(device);
    } else if (device.state === 'creating') {
      const input = device.probeError > 0 ? 'create succeeds without driver' : 'create succeeds';
      device.state = next(DEVICE, device.state, input, device, transition);
      if (device.openCount > 0)
        device.state = next(DEVICE, device.state, 'opened', device, transition);
    }
  },

  'mdev.probe:begin'(world, event, transition) {
    const created = createdBy(world, event);
    if (created && created.keyLow === 0 && created.keyHigh === 0)
      addKeyedDevice(world, created, event);
    const device = created ?? mdevOf(world, event);
    if (!device) return;
    setInode(device, event);
    // On some kernels no event before this one contains the name of the driver.
    if (device.driver === '') device.driver = event.name('driver');
    // A device that is first observed in mdev.probe is being created by a call whose begin was missed.
    if (device.adopted && device.firstSeen === event.time) device.state = 'creating';
    device.probeBegan = event.time;
    device.unbinds = 0;
    device.timeline.add(event, 0);
    transition.device = device;
  },

  'mdev.probe:end'(world, event, transition) {
    const device = mdevOf(world, event);
    if (!device) return;
    device.timeline.add(event, 0);
    transition.device = device;
    device.probeError = -event.ret;
    if (event.ret !== 0) return;
    if (device.state === 'unbound') {
      device.state = next(DEVICE, device.state, 'probe succeeds', device, transition);
    } else if (device.isCreationUnobserved) {
      device.state = next(DEVICE, device.state, 'create succeeds', device, transition);
    } else return;
    if (device.openCount > 0)
      device.state = next(DEVICE, device.state, 'opened', device, transition);
  },

  'mdev.remove:begin': beginRemove,
  'mdev.remove:end': endRemove,
  'mdev.remove_child:begin'(world, event, transition) {
    beginRemove(world, event, transition);
    const parent = transition.device?.parent;
    if (parent && parent.teardownBegan === 0) parent.teardownBegan = event.time;
  },
  'mdev.remove_child:end': endRemove,

  'mdev.unbind:begin'(world, event, transition) {
    const device = mdevOf(world, event);
    if (!device) return;
    device.unbindBegan = event.time;
    device.unbinds++;
    device.state = next(DEVICE, device.state, 'removal begins', device, transition);
    device.timeline.add(event, 0);
    transition.device = device;
  },

  'mdev.unbind:end'(world, event, transition) {
    const device = mdevOf(world, event);
    if (!device) return;
    device.unboundAt = event.time;
    // No removal is in flight: only its driver was unbound through sysfs, and the mdev remains.
    if (device.state === 'removing' && !isRemoving(world, event.tid, device)) {
      device.state = next(DEVICE, device.state, 'driver unbound', device, transition);
    }
    device.timeline.add(event, 0);
    transition.device = device;
  },

  'mdev.release:begin'(world, event, transition) {
    // If a create fails before mdev.probe, this is the first event that contains the key of the device.
    const device = createdBy(world, event) ?? mdevOf(world, event);
    if (!device) return;
    device.releasedAt = event.time;
    device.timeline.add(event, 0);
    transition.device = device;
    world.devices.forgetKey(device);
    if (device.isCreationUnobserved) device.state = 'removing';
    device.state = next(DEVICE, device.state, 'freed', device, transition);
    if (device.isOver) world.devices.end(device);
  },

  'mdev.release:end'(_world, _event, transition) {
    transition.device = transition.call?.device;
  },
};
