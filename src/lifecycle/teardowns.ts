/**
 * Handlers for what a host snapshot finds of threads that are removing a device or unregistering a parent. Their
 * calls began before the agent, so that no event shows them, and they may be blocked for ever.
 */
import type { EventCursor } from '../events/cursor.ts';
import { taskOf } from '../events/task.ts';
import { DEVICE_STATE } from '../events/wire.gen.ts';
import type { Handlers } from './handler.ts';
import { type Device, Parent } from './objects.ts';
import { inProgress } from './operations.ts';
import { addDevice, adoptDevice, confirm } from './reconcile.ts';
import type { KnownBy } from './states.ts';
import type { World } from './world.ts';

function knownBy({ deviceState }: EventCursor): KnownBy {
  return deviceState & DEVICE_STATE.INFERRED ? 'elimination' : 'stack';
}

/** The device of a removal: sysfs may not show it any more. */
function leavingDevice(world: World, event: EventCursor): Device {
  const known = world.devices.named(event.name('device'));
  if (known) return known;
  const device = adoptDevice(world, event, event.name('device'));
  addDevice(world, device);
  device.timeline.add(event, 0);
  return device;
}

/** Whether a call that unbinds or removes the device was observed to begin, and not to end. */
function isObserved(world: World, device: Device): boolean {
  return inProgress(world, 'remove').some(
    (call) => call.device === device && call.losses === world.losses,
  );
}

function findRemoval(world: World, device: Device, event: EventCursor): void {
  // An earlier snapshot found it. Of an unbinding no remover is kept, and tasks that wait for the lock
  // of the device look like removers, too.
  if (device.remover || isObserved(world, device)) return;
  device.state = 'removing';
  device.remover = taskOf(event);
  device.removeKnownBy = knownBy(event);
  if (device.removeBegan === 0) device.removeBegan = event.time;
  const { removeBegan } = device;
  if (event.deviceState & DEVICE_STATE.IN_DRIVER && device.isMdev) device.unbindBegan = removeBegan;
  if (event.deviceState & DEVICE_STATE.WAITING && device.unregisterBegan === 0) {
    device.unregisterBegan = removeBegan;
    device.vfio = 'unregistering';
  }
}

/** A parent that sysfs may not show any more, with the mdevs that were found below it. */
function leavingParent(world: World, event: EventCursor): Parent {
  const name = event.name('parent');
  const known = world.parents.named(name);
  if (known) return known;
  const parent = new Parent(event.time, true, world.losses);
  parent.name = name;
  parent.timeline.add(event, 0);
  world.parents.add(parent);
  for (const device of world.devices) {
    if (!device.isMdev || device.parent || device.parentName !== name) continue;
    device.parent = parent;
    parent.devices.add(device);
  }
  return parent;
}

export const TEARDOWN_HANDLERS: Handlers = {
  'snapshot.removal:begin'(world, event, transition) {
    const { snapshot } = world;
    if (!snapshot || snapshot.endedNames.has(event.name('device'))) return;
    const device = leavingDevice(world, event);
    findRemoval(world, device, event);
    confirm(device, snapshot);
    transition.device = device;
  },
  'snapshot.unregister:begin'(world, event, transition) {
    const { snapshot } = world;
    if (!snapshot || snapshot.endedNames.has(event.name('parent'))) return;
    const parent = leavingParent(world, event);
    parent.removerFoundBy = snapshot.number;
    transition.parent = parent;
    if (parent.unregisterBegan > 0) return;
    parent.state = 'unregistering';
    parent.unregisterBegan = event.time;
    parent.unregisterKnownBy = knownBy(event);
    parent.remover = taskOf(event);
  },
};
