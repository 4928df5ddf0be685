/** The vfio_device of a device, from its initialisation to its release: drivers/vfio/vfio_main.c. */
import type { EventCursor } from '../events/cursor.ts';
import { taskOf } from '../events/task.ts';
import { EVENT } from '../events/wire.gen.ts';
import { addKeyedDevice, joinGroup, updateOpenCount } from './associate.ts';
import { DEVICE, VFIO } from './automata.ts';
import type { Handlers } from './handler.ts';
import { Device } from './objects.ts';
import { next } from './step.ts';
import type { Transition } from './transition.ts';
import type { World } from './world.ts';

const KEY_DEV = EVENT.dev >> 2;
const KEY_VDEV = EVENT.vdev >> 2;

/**
 * The device that the event concerns. It is adopted if this is the first event about it and the event names
 * it.
 */
export function deviceOf(world: World, event: EventCursor): Device | undefined {
  const known =
    world.vdevKeys.find(event.words, event.word + KEY_VDEV) ?? world.devices.find(event, KEY_DEV);
  if (!known || world.supersedeIfReused(known, event)) {
    return event.isNamed ? deviceByName(world, event) : undefined;
  }
  if (known.vdevLow === 0 && known.vdevHigh === 0) setVdevKey(world, known, event);
  return known;
}

/** A device whose key is new: one that was found in sysfs, which shows no key, or one that is adopted. */
function deviceByName(world: World, event: EventCursor): Device {
  const found = world.devices.namedWithoutKey(event.name('device'));
  if (!found) return newDevice(world, event, true);
  addKeyedDevice(world, found, event);
  setVdevKey(world, found, event);
  return found;
}

function newDevice(world: World, event: EventCursor, adopted: boolean): Device {
  const device = new Device(event.time, adopted, world.losses);
  device.name = event.name('device');
  device.bus = event.name('bus');
  device.driver = event.name('driver');
  device.parentName = event.name('parent');
  // Its creation and registration happened before the agent was attached or were missed.
  if (adopted) device.vfio = 'registered';
  addKeyedDevice(world, device, event);
  setVdevKey(world, device, event);
  return device;
}

/** Whether the vfio_device of the event is the one that the device is known to have. */
function hasSameVdev(world: World, device: Device, event: EventCursor): boolean {
  if (world.qualityOf(device) !== 'observed') return false;
  return (
    !event.has(EVENT.vdev) || world.vdevKeys.find(event.words, event.word + KEY_VDEV) === device
  );
}

/**
 * The device whose vfio_device is freed. If a vfio_device outlived its mdev, another mdev may have the
 * address of that mdev by now. Its vfio_device has another key, so it is not returned.
 */
function freedDevice(world: World, event: EventCursor): Device | undefined {
  const known = world.vdevKeys.find(event.words, event.word + KEY_VDEV);
  if (known) return known;
  const device = world.devices.find(event, KEY_DEV);
  const hasAnother = event.has(EVENT.vdev) && (device?.vdevLow !== 0 || device.vdevHigh !== 0);
  return hasAnother ? undefined : device;
}

/**
 * A device that was found by its name and has no sure key. If there is none, a host snapshot in progress
 * must not adopt it from a record that was read before this event.
 */
function freedByName(world: World, event: EventCursor): Device | undefined {
  if (!event.isNamed) return undefined;
  const found = world.devices.namedWithoutKey(event.name('device'));
  if (!found && event.name('bus') !== 'mdev') world.snapshot?.endedNames.add(event.name('device'));
  return found;
}

function setVdevKey(world: World, device: Device, event: EventCursor): void {
  // On kernels that pass a struct device to these functions, the event has no key of the vfio_device.
  if (!event.has(EVENT.vdev)) return;
  world.vdevKeys.delete(device.vdevLow, device.vdevHigh, device);
  device.vdevLow = event.words[event.word + KEY_VDEV];
  device.vdevHigh = event.words[event.word + KEY_VDEV + 1];
  world.vdevKeys.set(device.vdevLow, device.vdevHigh, device);
}

function beginRegister(world: World, event: EventCursor, transition: Transition): void {
  const known = world.devices.find(event, KEY_DEV);
  // An mdev is created before it is registered, so one that is unknown here is adopted.
  const isMdev = event.name('bus') === 'mdev';
  const isKnown =
    known && (known.isMdev || known.vfio === 'initialised' || hasSameVdev(world, known, event));
  const device = isKnown ? known : newDevice(world, event, isMdev);
  setVdevKey(world, device, event);
  device.timeline.add(event, 0);
  transition.device = device;
}

function endRegister(world: World, event: EventCursor, transition: Transition): void {
  const device = deviceOf(world, event);
  if (!device) return;
  device.timeline.add(event, 0);
  transition.device = device;
  device.registerError = event.ret < 0 ? -event.ret : 0;
  if (event.ret === 0) {
    device.vfio = next(VFIO, device.vfio, 'registered', device, transition);
    device.registeredAt = event.time;
    device.unregisterBegan = 0;
    device.unregisteredAt = 0;
    joinGroup(world, device, event.groupId);
  }
}

export const VFIO_HANDLERS: Handlers = {
  'vfio.init:begin'(world, event, transition) {
    const known = world.devices.find(event, KEY_DEV);
    // An mdev is created before it is initialised, so one that is unknown here is adopted.
    const device = known ?? newDevice(world, event, event.name('bus') === 'mdev');
    device.timeline.add(event, 0);
    transition.device = device;
  },

  'vfio.init:end'(world, event, transition) {
    const device = world.devices.find(event, KEY_DEV);
    if (!device) return;
    device.timeline.add(event, 0);
    transition.device = device;
    device.initError = event.ret < 0 ? -event.ret : 0;
    if (event.ret !== 0) {
      if (!device.isMdev && device.vfio === 'none') {
        device.state = 'failed';
        world.devices.end(device);
      }
      return;
    }
    setVdevKey(world, device, event);
    device.vfio = next(VFIO, device.vfio, 'initialised', device, transition);
    device.initialisedAt = event.time;
    device.vdevReleasedAt = 0;
  },

  'vfio.register:begin': beginRegister,
  'vfio.register:end': endRegister,
  'vfio.register_emulated:begin': beginRegister,
  'vfio.register_emulated:end': endRegister,

  'vfio.unregister:begin'(world, event, transition) {
    const device = deviceOf(world, event);
    if (!device) return;
    device.unregisterBegan = event.time;
    device.unregisteredAt = 0;
    updateOpenCount(device, event);
    joinGroup(world, device, event.groupId);
    device.asksUsers = event.asksUsers;
    device.vfio = next(VFIO, device.vfio, 'unregister begins', device, transition);
    // The removal of an mdev began earlier. If its state does not show that, it was not observed.
    device.state = next(DEVICE, device.state, 'removal begins', device, transition);
    if (!device.isMdev) {
      device.removeBegan = event.time;
      device.remover = taskOf(event);
    }
    device.timeline.add(event, 0);
    transition.device = device;
  },

  'vfio.unregister:end'(world, event, transition) {
    const device = deviceOf(world, event);
    if (!device) return;
    device.unregisteredAt = event.time;
    device.vfio = next(VFIO, device.vfio, 'unregister ends', device, transition);
    updateOpenCount(device, event);
    world.leaveGroup(device);
    device.timeline.add(event, 0);
    transition.device = device;
  },

  'vfio.release:begin'(world, event, transition) {
    const device = freedDevice(world, event) ?? freedByName(world, event);
    if (!device) return;
    device.timeline.add(event, 0);
    transition.device = device;
    world.forgetUnfreed(device);
    world.vdevKeys.delete(device.vdevLow, device.vdevHigh, device);
    device.vdevLow = 0;
    device.vdevHigh = 0;
    device.vfio = next(VFIO, device.vfio, 'freed', device, transition);
    device.vdevReleasedAt = event.time;
    if (!device.isMdev) {
      device.releasedAt = event.time;
      const wasUsed = device.registeredAt > 0 || device.adopted;
      device.state = wasUsed ? next(DEVICE, device.state, 'freed', device, transition) : 'failed';
      world.devices.end(device);
    }
  },
};
