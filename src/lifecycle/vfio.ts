/** The vfio_device of a device, from its making to its end: drivers/vfio/vfio_main.c. */
import type { EventCursor } from '../events/cursor.ts';
import { EVENT } from '../events/wire.gen.ts';
import { DEVICE, next, VFIO } from './automata.ts';
import { joinGroup } from './groups.ts';
import type { Moment } from './moment.ts';
import { Device, taskOf } from './objects.ts';
import { countOpens } from './opens.ts';
import type { Handlers, World } from './world.ts';

const KEY_DEV = EVENT.dev >> 2;
const KEY_VDEV = EVENT.vdev >> 2;

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
  // An mdev that is known by its creation is not known here, so it has been registered before.
  if (adopted) device.vfio = 'registered';
  world.enterDevice(device, event);
  joinVdev(world, device, event);
  return device;
}

/** Whether the vfio_device of the event is the one that the device has, as far as is told. */
function isSame(world: World, device: Device, event: EventCursor): boolean {
  if (world.qualityOf(device) !== 'observed') return false;
  return !event.has(EVENT.vdev) || world.vdevKeys.find(event.u32, event.word + KEY_VDEV) === device;
}

/** Whose vfio_device is freed: not the one that has got the address of an mdev that did not live as long. */
function freedDevice(world: World, event: EventCursor): Device | undefined {
  const known = world.vdevKeys.find(event.u32, event.word + KEY_VDEV);
  if (known) return known;
  const device = world.deviceKeys.find(event.u32, event.word + KEY_DEV);
  const hasAnother = event.has(EVENT.vdev) && (device?.vdevLow !== 0 || device.vdevHigh !== 0);
  return hasAnother ? undefined : device;
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

function beginRegister(world: World, event: EventCursor, moment: Moment): void {
  const known = world.deviceKeys.find(event.u32, event.word + KEY_DEV);
  // An mdev has been created before it registers: not to know it is to have missed that.
  const isMdev = event.name('bus') === 'mdev';
  const isKnown =
    known && (known.isMdev || known.vfio === 'initialised' || isSame(world, known, event));
  const device = isKnown ? known : newDevice(world, event, isMdev);
  joinVdev(world, device, event);
  device.timeline.add(event, 0);
  moment.device = device;
}

function endRegister(world: World, event: EventCursor, moment: Moment): void {
  const device = deviceOf(world, event);
  if (!device) return;
  device.timeline.add(event, 0);
  moment.device = device;
  if (event.ret === 0) {
    device.vfio = next(VFIO, device.vfio, 'registered', device, moment);
    device.registeredAt = event.time;
    device.unregisterBegan = 0;
    device.unregisteredAt = 0;
    joinGroup(world, device, event.groupId);
  }
}

export const VFIO_HANDLERS: Handlers = {
  'vfio.init:begin'(world, event, moment) {
    const known = world.deviceKeys.find(event.u32, event.word + KEY_DEV);
    // An mdev has been created before.
    const device = known ?? newDevice(world, event, event.name('bus') === 'mdev');
    device.timeline.add(event, 0);
    moment.device = device;
  },

  'vfio.init:end'(world, event, moment) {
    const device = world.deviceKeys.find(event.u32, event.word + KEY_DEV);
    if (!device) return;
    device.timeline.add(event, 0);
    moment.device = device;
    if (event.ret !== 0) {
      if (!device.isMdev && device.vfio === 'none') {
        device.state = 'failed';
        world.endDevice(device);
      }
      return;
    }
    joinVdev(world, device, event);
    device.vfio = next(VFIO, device.vfio, 'initialised', device, moment);
    device.initialisedAt = event.time;
    device.vdevReleasedAt = 0;
  },

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
    device.asksUsers = event.asksUsers;
    device.vfio = next(VFIO, device.vfio, 'unregister begins', device, moment);
    // An mdev's began before; if its state is another, that was not seen.
    device.state = next(DEVICE, device.state, 'removal begins', device, moment);
    if (!device.isMdev) {
      device.removeBegan = event.time;
      device.remover = taskOf(event);
    }
    device.timeline.add(event, 0);
    moment.device = device;
  },

  'vfio.unregister:end'(world, event, moment) {
    const device = deviceOf(world, event);
    if (!device) return;
    device.unregisteredAt = event.time;
    device.vfio = next(VFIO, device.vfio, 'unregister ends', device, moment);
    countOpens(device, event);
    world.leaveGroup(device);
    device.timeline.add(event, 0);
    moment.device = device;
    if (device.unregisterBegan) moment.duration = event.time - device.unregisterBegan;
  },

  'vfio.release:begin'(world, event, moment) {
    const device = freedDevice(world, event) ?? unkeyedOrGone(world, event);
    if (!device) return;
    device.timeline.add(event, 0);
    moment.device = device;
    world.forgetUnfreed(device);
    world.vdevKeys.delete(device.vdevLow, device.vdevHigh, device);
    device.vdevLow = 0;
    device.vdevHigh = 0;
    device.vfio = next(VFIO, device.vfio, 'freed', device, moment);
    device.vdevReleasedAt = event.time;
    if (!device.isMdev) {
      device.releasedAt = event.time;
      const wasUsed = device.registeredAt > 0 || device.adopted;
      device.state = wasUsed ? next(DEVICE, device.state, 'freed', device, moment) : 'failed';
      world.endDevice(device);
    }
  },
};
