/**
 * Parents and mediated devices: drivers/vfio/mdev/mdev_core.c.
 *
 * Order on 6.1 and later: create begin → probe begin → vfio register → probe end →
 * create end; remove begin → unbind begin → vfio unregister → unbind end →
 * release → remove end. A failed create releases the device before it returns.
 */
import type { EventCursor } from '../events/cursor.ts';
import { EVENT, POINT } from '../events/wire.gen.ts';
import { DEVICE, next, PARENT } from './automata.ts';
import type { Moment } from './moment.ts';
import { Device, Parent, taskOf } from './objects.ts';
import type { Handlers, World } from './world.ts';

const KEY_DEV = EVENT.dev >> 2;
const KEY_PARENT = EVENT.parent >> 2;

function newParent(world: World, event: EventCursor, adopted: boolean): Parent {
  const stale = world.parentKeys.find(event.u32, event.word + KEY_PARENT);
  if (stale) supersede(world, stale);
  const namesake = event.isNamed ? foundByName(world, event.name('parent')) : undefined;
  if (namesake) supersede(world, namesake);
  const parent = new Parent(event.time, adopted, world.losses);
  if (event.isNamed) {
    parent.name = event.name('parent');
    parent.driver = event.name('driver');
  }
  world.parents.add(parent);
  keyParent(world, parent, event);
  return parent;
}

function parentOf(world: World, event: EventCursor): Parent | undefined {
  if (!event.has(EVENT.parent)) return undefined;
  const known = world.parentKeys.find(event.u32, event.word + KEY_PARENT);
  if (known || !event.isNamed) return known;
  const found = foundByName(world, event.name('parent'));
  if (found) {
    world.parentKeys.delete(found.keyLow, found.keyHigh, found);
    keyParent(world, found, event);
    return found;
  }
  const parent = newParent(world, event, true);
  // Else a look would have found it.
  const isHidden = world.knowsParents && event.point !== POINT.MDEV_CREATE;
  if (isHidden || event.point === POINT.MDEV_REMOVE_CHILD) parent.state = 'unregistering';
  return parent;
}

/** A parent that was found in sysfs, which tells no key. */
function foundByName(world: World, name: string): Parent | undefined {
  for (const parent of world.parents) {
    if (parent.name === name && parent.isKeyUnsure) return parent;
  }
  return undefined;
}

function keyParent(world: World, parent: Parent, event: EventCursor): void {
  parent.keyLow = event.u32[event.word + KEY_PARENT];
  parent.keyHigh = event.u32[event.word + KEY_PARENT + 1];
  world.parentKeys.set(parent.keyLow, parent.keyHigh, parent);
}

/** Its address or its name belongs to another parent now, so its end was missed. */
function supersede(world: World, parent: Parent): void {
  parent.state = 'gone';
  world.endParent(parent);
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

/** The mdev of an event, made known if it existed before it was first seen. */
function mdevOf(world: World, event: EventCursor): Device | undefined {
  const known = world.deviceKeys.find(event.u32, event.word + KEY_DEV);
  if (known && !world.isAnother(known, event)) {
    // VFIO events may have made it known first; they do not know the type.
    if (known.type === '' && event.isNamed) describe(world, known, event);
    if (event.isNamed) learnInode(known, event);
    return known;
  }
  if (!event.isNamed) return undefined;
  const name = event.name('device');
  // A device shows in sysfs before its own creation reaches the probe, which tells its
  // key: a remover that is quick enough is the first to name it.
  const device =
    world.creationOf(name, event.name('parent')) ??
    foundDevice(world, event, name) ??
    newMdev(world, event, true);
  device.name = name;
  if (device.type === '' || !device.parent) describe(world, device, event);
  learnInode(device, event);
  world.enterDevice(device, event);
  return device;
}

/** A device that goes has no directory any more. */
function learnInode(device: Device, event: EventCursor): void {
  if (device.inode === 0) device.inode = event.inode;
}

/** What is set up under another key than that of its namesake is another device. */
function foundDevice(world: World, event: EventCursor, name: string): Device | undefined {
  const found = world.foundByName(name);
  const isKeyless = found?.keyLow === 0 && found.keyHigh === 0;
  return isKeyless || event.point !== POINT.MDEV_PROBE ? found : undefined;
}

/**
 * The device that this thread is creating, if the event is about it: after a loss the
 * creation may have ended long ago.
 */
function madeBy(world: World, event: EventCursor): Device | undefined {
  const made = world.creating.get(event.tid);
  if (!made || world.losses === made.lossesBefore) return made;
  const name = event.name('device');
  return name === '' || name === made.name ? made : undefined;
}

function describe(world: World, device: Device, event: EventCursor): void {
  device.type = event.name('type');
  device.driver = event.name('driver');
  device.parent = parentOf(world, event);
  device.parent?.devices.add(device);
}

function beginRemove(world: World, event: EventCursor, moment: Moment): void {
  const device = mdevOf(world, event);
  if (!device) return;
  device.stateAtRemove = device.state;
  if (device.state !== 'removing') {
    device.removeBegan = event.time;
    device.remover = taskOf(event);
  }
  device.timeline.add(event, 0);
  world.removing.set(event.tid, device);
  moment.device = device;
}

function endRemove(world: World, event: EventCursor, moment: Moment): void {
  const device = world.removing.get(event.tid);
  if (!device) return;
  world.removing.delete(event.tid);
  device.timeline.add(event, 0);
  moment.device = device;
  if (event.ret < 0) {
    device.removeError = -event.ret;
    device.removeFailedAt = event.time;
    return;
  }
  moment.duration = event.time - device.removeBegan;
  device.removedAt = event.time;
}

export const MDEV_HANDLERS: Handlers = {
  'mdev.parent.register:begin'(world, event, moment) {
    const parent = newParent(world, event, false);
    parent.state = 'registering';
    parent.timeline.add(event, 0);
    moment.parent = parent;
  },

  'mdev.parent.register:end'(world, event, moment) {
    const parent = world.parentKeys.find(event.u32, event.word + KEY_PARENT);
    if (!parent) return;
    parent.timeline.add(event, 0);
    moment.parent = parent;
    moment.duration = event.time - parent.firstSeen;
    if (event.ret < 0) {
      parent.state = next(PARENT, parent.state, 'refused', parent, moment);
      world.endParent(parent);
    } else {
      parent.state = next(PARENT, parent.state, 'registered', parent, moment);
      parent.registeredAt = event.time;
    }
  },

  'mdev.parent.unregister:begin'(world, event, moment) {
    const parent = parentOf(world, event);
    if (!parent) return;
    parent.state = next(PARENT, parent.state, 'unregister begins', parent, moment);
    parent.unregisterBegan = event.time;
    parent.remover = taskOf(event);
    parent.timeline.add(event, 0);
    moment.parent = parent;
  },

  'mdev.parent.unregister:end'(world, event, moment) {
    const parent = world.parentKeys.find(event.u32, event.word + KEY_PARENT);
    if (!parent) return;
    parent.state = next(PARENT, parent.state, 'unregister ends', parent, moment);
    parent.unregisteredAt = event.time;
    parent.timeline.add(event, 0);
    moment.parent = parent;
    if (parent.unregisterBegan) moment.duration = event.time - parent.unregisterBegan;
    world.endParent(parent);
  },

  'mdev.create:begin'(world, event, moment) {
    const device = newMdev(world, event, false);
    device.name = event.uuid();
    device.state = 'creating';
    device.createBegan = event.time;
    device.creator = taskOf(event);
    device.holder = world.devicesByName.get(device.name);
    device.timeline.add(event, 0);
    world.creating.set(event.tid, device);
    moment.device = device;
    moment.parent = device.parent;
  },

  'mdev.create:end'(world, event, moment) {
    const device = world.creating.get(event.tid);
    if (!device) return;
    world.creating.delete(event.tid);
    device.timeline.add(event, 0);
    moment.device = device;
    moment.parent = device.parent;
    moment.duration = event.time - device.createBegan;
    if (device.isOver) return;
    if (event.ret < 0) {
      device.createError = -event.ret;
      device.createFailedAt = event.time;
      // Its driver had it, so the core has a reference, and puts it before it returns.
      const isLeft = device.probeBegan > 0 && device.releasedAt === 0;
      const input = isLeft ? 'create fails unfreed' : 'create fails';
      device.state = next(DEVICE, device.state, input, device, moment);
      if (!isLeft) world.endDevice(device);
      return;
    }
    device.createdAt = event.time;
    if (device.releasedAt > 0) {
      // A remover was faster than the creator on its way back to user space.
      device.state = next(DEVICE, device.state, 'create ends late', device, moment);
      world.endDevice(device);
    } else if (device.state === 'creating') {
      const input = device.probeError > 0 ? 'create ends unbound' : 'create ends';
      device.state = next(DEVICE, device.state, input, device, moment);
      if (device.openCount > 0) device.state = next(DEVICE, device.state, 'opened', device, moment);
    }
  },

  'mdev.probe:begin'(world, event, moment) {
    const made = madeBy(world, event);
    if (made && made.keyLow === 0 && made.keyHigh === 0) world.enterDevice(made, event);
    const device = made ?? mdevOf(world, event);
    if (!device) return;
    learnInode(device, event);
    // Before it is bound, its own driver is unknown on kernels that name it nowhere else.
    if (device.driver === '') device.driver = event.name('driver');
    // To be set up without having been known is to be created by a call whose begin was not seen.
    if (device.adopted && device.firstSeen === event.time) device.state = 'creating';
    device.probeBegan = event.time;
    device.unbinds = 0;
    device.timeline.add(event, 0);
    moment.device = device;
  },

  'mdev.probe:end'(world, event, moment) {
    const device = mdevOf(world, event);
    if (!device) return;
    device.timeline.add(event, 0);
    moment.device = device;
    if (device.probeBegan) moment.duration = event.time - device.probeBegan;
    device.probeError = -event.ret;
    if (event.ret !== 0) return;
    if (device.state === 'unbound') {
      device.state = next(DEVICE, device.state, 'probe ends', device, moment);
    } else if (device.isCreationUnseen) {
      device.state = next(DEVICE, device.state, 'create ends', device, moment);
    } else return;
    if (device.openCount > 0) device.state = next(DEVICE, device.state, 'opened', device, moment);
  },

  'mdev.remove:begin': beginRemove,
  'mdev.remove:end': endRemove,
  'mdev.remove_child:begin'(world, event, moment) {
    beginRemove(world, event, moment);
    const parent = moment.device?.parent;
    if (parent && parent.teardownBegan === 0) parent.teardownBegan = event.time;
  },
  'mdev.remove_child:end': endRemove,

  'mdev.unbind:begin'(world, event, moment) {
    const device = mdevOf(world, event);
    if (!device) return;
    device.unbindBegan = event.time;
    device.unbinds++;
    device.state = next(DEVICE, device.state, 'removal begins', device, moment);
    device.timeline.add(event, 0);
    moment.device = device;
  },

  'mdev.unbind:end'(world, event, moment) {
    const device = mdevOf(world, event);
    if (!device) return;
    device.unboundAt = event.time;
    // Nobody removes it: its driver was taken away through sysfs, and the mdev stays.
    if (device.state === 'removing' && world.removing.get(event.tid) !== device) {
      device.state = next(DEVICE, device.state, 'unbound', device, moment);
    }
    device.timeline.add(event, 0);
    moment.device = device;
    if (device.unbindBegan) moment.duration = event.time - device.unbindBegan;
  },

  'mdev.release:begin'(world, event, moment) {
    // A create that failed before its probe is released under a key that nobody learnt.
    const device = madeBy(world, event) ?? mdevOf(world, event);
    if (!device) return;
    device.releasedAt = event.time;
    device.timeline.add(event, 0);
    world.releasing.set(event.tid, device);
    moment.device = device;
    world.deviceKeys.delete(device.keyLow, device.keyHigh, device);
    if (device.isCreationUnseen) device.state = 'removing';
    device.state = next(DEVICE, device.state, 'freed', device, moment);
    if (device.isOver) world.endDevice(device);
  },

  'mdev.release:end'(world, event, moment) {
    const device = world.releasing.get(event.tid);
    if (!device) return;
    world.releasing.delete(event.tid);
    moment.device = device;
    moment.duration = event.time - device.releasedAt;
  },
};
