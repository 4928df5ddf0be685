/**
 * The end of a look at the host: objects that may have ended unseen, and that were not found,
 * have ended; what could not be told before all was read is told now.
 */
import type { EventCursor } from '../events/cursor.ts';
import { SEEN } from '../events/look-bits.ts';
import { newVm } from './kvm.ts';
import { endDeviceUnseen, endOpenUnseen, found, isDoubtful } from './look.ts';
import type { Parent } from './objects.ts';
import { countSeenOpens, hold, settle } from './opens.ts';
import type { Look, World } from './world.ts';

function knownVms(world: World, tid: number): number {
  let known = 0;
  for (const vm of world.vms) if (vm.makerTid === tid) known++;
  return known;
}

/** A device may still point to a VM that is gone, where it holds no reference. */
function dropDangling(world: World, look: Look, event: EventCursor): void {
  for (const vm of look.vmsOfDevices) {
    if (look.vmEntries.has(vm.makerTid)) continue;
    for (const device of vm.devices) {
      for (const open of device.opens) if (open.vm === vm) open.vm = undefined;
      hold(device, undefined, event.time);
    }
    world.vms.delete(vm);
    world.vmKeys.delete(vm.keyLow, vm.keyHigh, vm);
  }
}

/** The VMs that nobody has a file of, as far as could be seen, but that the kernel lists. */
function endLookAtVms(world: World, look: Look, event: EventCursor, listed: boolean): void {
  if (listed) dropDangling(world, look, event);
  for (const [tid, entries] of look.vmEntries) {
    for (const vm of world.vms) if (vm.makerTid === tid) found(vm, look);
    if (look.endedMakers.has(tid)) continue;
    for (let known = knownVms(world, tid); known < entries; known++) {
      const vm = newVm(world, event, true);
      vm.makerTid = tid;
      vm.state = 'running';
      found(vm, look);
    }
  }
  for (const vm of world.vms) {
    const isUnheld = vm.adopted && vm.foundBy === look.number && !look.vmsWithFd.has(vm);
    if (isUnheld && vm.state === 'running') {
      vm.state = 'released';
      vm.fdClosedAt = look.began;
    }
    if (!listed || !isDoubtful(vm, look)) continue;
    vm.state = 'destroyed';
    vm.destroyBegan = event.time;
    world.endVm(vm);
  }
}

/** An open of which events may be missing, and that is still in flight, comes back with its end. */
function endLookAtOpens(world: World, look: Look, event: EventCursor): void {
  for (const [tid, open] of world.opening) {
    if (open.state !== 'opening' || isDoubtful(open, look)) world.opening.delete(tid);
  }
  for (const device of world.devices) {
    const isChecked = look.checked.has(device) || isDoubtful(device, look);
    for (const open of device.opens.filter((one) => isDoubtful(one, look))) {
      endOpenUnseen(world, open, event);
    }
    if (!isChecked) continue;
    // The kernel's own count stays if it is that new: a file may be on its way in a socket.
    if (device.countedAt < look.began) countSeenOpens(device);
    settle(device);
    if (device.openCount === 0 && device.heldAt < look.began) hold(device, undefined, event.time);
  }
}

/** Only events about devices on their way out told of it, so it does not show because it goes, too. */
function isWithdrawn(parent: Parent): boolean {
  if (!parent.adopted || parent.foundBy > 0) return false;
  for (const device of parent.devices) if (device.createBegan > 0) return false;
  return true;
}

function endLookAtDevices(world: World, look: Look, event: EventCursor): void {
  // A creation whose end may be missing, and whose device is ready or is not there.
  for (const [tid, device] of world.creating) {
    const isReady = look.checked.has(device) && device.state !== 'creating';
    if (isReady || isDoubtful(device, look)) world.creating.delete(tid);
  }
  for (const device of world.devices) {
    if (isDoubtful(device, look)) endDeviceUnseen(world, device, event);
    else if (device.foundBy === look.number && device.state === 'removing') {
      // It waits for its users, since when is not known.
      if (device.openCount > 0 && device.unregisterBegan === 0) {
        device.unregisterBegan = device.removeBegan;
      }
    }
  }
  for (const parent of world.parents) {
    if (!isDoubtful(parent, look) && !isWithdrawn(parent)) continue;
    if (parent.devices.size > 0) {
      // One that is being withdrawn does not show, but is there until its last device is gone.
      parent.state = 'unregistering';
      found(parent, look);
    } else {
      parent.state = 'gone';
      world.endParent(parent);
    }
  }
  world.knowsParents = true;
}

/**
 * The VM of a group is believed only if a file of that VM was found: it may be gone by
 * now, and where no BTF tells its place (5.10) it may be no VM at all.
 */
function tieGroups(world: World, look: Look): void {
  for (const { group, low, high, time } of look.groupVms) {
    const vm = world.vmKeys.find(Uint32Array.of(low, high), 0);
    if (!vm || time < group.setAt) continue;
    group.vm = vm;
    group.setLosses = look.losses;
    for (const device of group.devices) {
      if (device.vmOfGroup && device.opens.length > 0) hold(device, vm, time);
    }
  }
  for (const group of world.groups.values()) {
    if (group.vm && group.setLosses < look.losses) {
      // What was lost may have taken it away, and nothing that was found says otherwise.
      group.vm = undefined;
      group.setAt = 0;
    }
    if (!group.vm && group.devices.size === 0) world.groups.delete(group.id);
  }
}

/** All that was found has been told. */
export function endLook(world: World, event: EventCursor): void {
  const { look } = world;
  if (!look) return;
  if (event.ret & SEEN.files) endLookAtOpens(world, look, event);
  if (event.ret & SEEN.sysfs) endLookAtDevices(world, look, event);
  tieGroups(world, look);
  if (event.ret & SEEN.files) endLookAtVms(world, look, event, (event.ret & SEEN.debugfs) !== 0);
  if ((event.ret & SEEN.sysfs) !== 0 && (event.ret & SEEN.files) !== 0)
    world.lossesPutRight = look.losses;
  world.look = undefined;
}
