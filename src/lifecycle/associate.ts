/** The relations between tracked objects: of devices to groups, device files and VMs. */
import type { EventCursor } from '../events/cursor.ts';
import { EVENT } from '../events/wire.gen.ts';
import type { Device, Open, Vm } from './objects.ts';
import { excluding, including } from './related.ts';
import type { World } from './world.ts';

const KEY_DEV = EVENT.dev >> 2;

/** Adds a device under the key of the event's record, also to its parent. */
export function addKeyedDevice(world: World, device: Device, event: EventCursor): void {
  world.devices.addWithKey(device, event, KEY_DEV);
  device.parent?.devices.add(device);
}

export function joinGroup(world: World, device: Device, id: number): void {
  // leaveGroup() does not reset groupId, so that the API still shows the group of a device that left it.
  if (id < 0 || world.groups.get(id)?.devices.includes(device)) return;
  world.leaveGroup(device);
  device.groupId = id;
  const group = world.group(id);
  group.devices = including(group.devices, device);
}

/**
 * Records which VM the device holds a reference on, if any.
 * @param time since when, ns on the boot-time clock
 */
export function setHeldVm(device: Device, vm: Vm | undefined, time: number): void {
  device.heldAt = time;
  if (device.vm === vm) return;
  if (device.vm) device.vm.devices = excluding(device.vm.devices, device);
  device.vm = vm;
  if (vm) vm.devices = including(vm.devices, device);
}

/** Takes open_count from the event. Where the kernel has no such field, the known opens are counted. */
export function updateOpenCount(device: Device, event: EventCursor): void {
  if (event.openCount < 0) {
    countKnownOpens(device);
    return;
  }
  device.openCount = event.openCount;
  device.countedAt = event.time;
}

export function countKnownOpens(device: Device): void {
  let count = 0;
  for (const { state } of device.opens) if (state === 'open' || state === 'closing') count++;
  device.openCount = count;
}

/** Derives `open` or `bound` from open_count, unless the device is in a state that use does not change. */
export function updateUseState(device: Device): void {
  const isInUse = device.isCreationUnobserved && device.openCount > 0;
  if (device.state === 'bound' || device.state === 'open' || isInUse) {
    device.state = device.openCount > 0 ? 'open' : 'bound';
  }
}

/** Ends an open that was closed or that failed. */
export function endOpen(world: World, open: Open): void {
  const { device } = open;
  world.opens.end(open);
  device.opens = excluding(device.opens, open);
}
