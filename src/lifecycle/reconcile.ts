/** What a host snapshot means for one tracked object: its state is confirmed, or it has ended. */
import type { EventCursor } from '../events/cursor.ts';
import { endOpen } from './associate.ts';
import { type Cdev, Device, type Open, type Parent } from './objects.ts';
import type { TrackedObject } from './tracked-object.ts';
import type { Snapshot, World } from './world.ts';

/** A device that existed before the agent; the record describes it. */
export function adoptDevice(world: World, event: EventCursor, name: string): Device {
  const device = new Device(event.time, true, world.losses);
  device.name = name;
  device.bus = event.name('bus');
  device.type = event.name('type');
  device.driver = event.name('driver');
  device.parentName = event.name('parent');
  if (device.isMdev) device.parent = world.parents.named(device.parentName);
  return device;
}

/** Adds a device without a key: events find it by its name until one of them contains its key. */
export function addDevice(world: World, device: Device): void {
  device.parent?.devices.add(device);
  world.devices.add(device);
}

/** Its unregistration was over, or another parent's. */
export function forgetUnregistration(parent: Parent): void {
  parent.state = 'registered';
  parent.unregisterBegan = 0;
  parent.unregisterKnownBy = 'begin';
  parent.remover = undefined;
  parent.teardownBegan = 0;
}

/** Whether events about it may have been lost before the host snapshot began. */
export function mayHaveMissedEvents(object: TrackedObject, snapshot: Snapshot): boolean {
  return object.lossesBefore < snapshot.losses;
}

/**
 * Confirms the state of an object that the host snapshot found, so that earlier losses no longer concern
 * it.
 */
export function confirm(object: TrackedObject, snapshot: Snapshot): void {
  // An object that was adopted during this snapshot may have been read at any time since the snapshot
  // began, so losses during the snapshot concern it, too.
  if (object.adopted && object.foundBy === 0 && object.lossesBefore > snapshot.losses) {
    object.lossesBefore = snapshot.losses;
  }
  object.foundBy = snapshot.number;
  if (!mayHaveMissedEvents(object, snapshot)) return;
  if (object instanceof Device) snapshot.checked.add(object);
  object.lossesBefore = snapshot.losses;
  object.adopted = true;
}

/**
 * Whether an object that the host snapshot did not find may have ended, because its events may be
 * incomplete.
 */
export function mayHaveEnded(object: TrackedObject, snapshot: Snapshot): boolean {
  return (
    object.foundBy !== snapshot.number &&
    mayHaveMissedEvents(object, snapshot) &&
    object.firstSeen < snapshot.began
  );
}

export function sweepDevice(world: World, device: Device, event: EventCursor): void {
  device.state = 'released';
  device.releasedAt = event.time;
  world.devices.end(device);
}

export function sweepOpen(world: World, open: Open, event: EventCursor): void {
  open.state = 'closed';
  open.closedAt = event.time;
  endOpen(world, open);
}

export function sweepCdev(world: World, cdev: Cdev, event: EventCursor): void {
  cdev.state = 'closed';
  cdev.closedAt = event.time;
  world.cdevs.end(cdev);
}
