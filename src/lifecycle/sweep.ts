/**
 * The end of a host snapshot. Objects that it did not find, and about which events may have been lost,
 * have ended. Conclusions that need all of its records are drawn here as well.
 */
import type { EventCursor } from '../events/cursor.ts';
import { COVERED } from '../events/wire.gen.ts';
import { countKnownOpens, setHeldVm, updateUseState } from './associate.ts';
import { endVmsWithoutKvm, newVm } from './kvm.ts';
import type { Parent, Vm } from './objects.ts';
import {
  confirm,
  forgetUnregistration,
  mayHaveEnded,
  sweepCdev,
  sweepDevice,
  sweepOpen,
} from './reconcile.ts';
import { sweepCalls } from './sweep-calls.ts';
import type { Snapshot, World } from './world.ts';

function knownVms(world: World, tid: number): number {
  let known = 0;
  for (const vm of world.vms) if (vm.creatorTid === tid) known++;
  return known;
}

/**
 * Drops VMs that only the pointer of a device names: where it holds no reference, the pointer may dangle.
 */
function dropDanglingVms(world: World, snapshot: Snapshot, event: EventCursor): void {
  for (const vm of snapshot.vmsOfDevices) {
    if (snapshot.vmEntries.has(vm.creatorTid)) continue;
    for (const device of vm.devices) {
      for (const open of device.opens) if (open.vm === vm) open.vm = undefined;
      setHeldVm(device, undefined, event.time);
    }
    world.vms.drop(vm);
    vm.timeline.release();
  }
}

/**
 * Adopts VMs that the kernel lists in debugfs but of which no open file was found, marks VMs without a
 * file as zombies, and ends those that were not found.
 * @param listed whether debugfs could be read
 */
function sweepVms(world: World, snapshot: Snapshot, event: EventCursor, listed: boolean): void {
  if (listed) dropDanglingVms(world, snapshot, event);
  for (const [tid, entries] of snapshot.vmEntries) {
    for (const vm of world.vms) if (vm.creatorTid === tid) confirm(vm, snapshot);
    if (snapshot.endedCreators.has(tid)) continue;
    for (let known = knownVms(world, tid); known < entries; known++) {
      const vm = newVm(world, event, true);
      vm.creatorTid = tid;
      vm.state = 'running';
      confirm(vm, snapshot);
    }
  }
  for (const vm of world.vms) {
    if (vm.state === 'running' && hasNoFile(vm, snapshot)) {
      vm.state = 'zombie';
      vm.fdClosedAt = snapshot.began;
      vm.isCloseInferred = true;
    }
    if (!listed || !mayHaveEnded(vm, snapshot)) continue;
    vm.state = 'destroyed';
    vm.destroyBegan = event.time;
    world.vms.end(vm);
  }
}

/**
 * Whether no process has the VM's own file. A VM that was first seen in this snapshot may have been
 * created while the files were read, behind the place that the reader had reached, so only the next
 * snapshot decides.
 */
function hasNoFile(vm: Vm, snapshot: Snapshot): boolean {
  const isSought = vm.adopted && vm.foundBy === snapshot.number && vm.firstSeen < snapshot.began;
  return isSought && !snapshot.vmsWithFd.has(vm);
}

/**
 * Nobody was found who has it open, nor a device that is bound to it. That is no proof that it is gone, since a file
 * may be in a socket: so this is no release.
 */
function sweepContexts(world: World, snapshot: Snapshot): void {
  for (const context of world.iommufds) {
    if (mayHaveEnded(context, snapshot)) world.iommufds.supersede(context);
  }
}

function sweepOpens(world: World, snapshot: Snapshot, event: EventCursor): void {
  for (const device of world.devices) {
    const isChecked = snapshot.checked.has(device) || mayHaveEnded(device, snapshot);
    for (const open of device.opens.filter((one) => mayHaveEnded(one, snapshot))) {
      sweepOpen(world, open, event);
    }
    for (const cdev of device.cdevs.filter((one) => mayHaveEnded(one, snapshot))) {
      sweepCdev(world, cdev, event);
    }
    if (!isChecked) continue;
    // An open_count sampled since the snapshot began is kept: a file that is being passed through a socket
    // is in no process's table.
    if (device.countedAt < snapshot.began) countKnownOpens(device);
    updateUseState(device);
    if (device.openCount === 0 && device.heldAt < snapshot.began)
      setHeldVm(device, undefined, event.time);
  }
}

/**
 * Whether a parent that sysfs does not show is being unregistered: it was adopted from events that remove
 * its devices, and none of its devices was created since.
 */
function isUnregistering(parent: Parent): boolean {
  if (!parent.adopted || parent.foundBy > 0) return false;
  for (const device of parent.devices) if (device.createBegan > 0) return false;
  return true;
}

/** Whether an earlier snapshot has found a thread that unregisters it, which no event will end. */
function hasRemoverLeft({ unregisterKnownBy }: Parent): boolean {
  return unregisterKnownBy !== 'begin';
}

function sweepDevices(world: World, snapshot: Snapshot, event: EventCursor): void {
  for (const device of world.devices) {
    if (mayHaveEnded(device, snapshot)) sweepDevice(world, device, event);
    else if (device.foundBy === snapshot.number && device.state === 'removing') {
      // Its unregistration waits for users. When that began was not observed, so the removal's begin is used.
      if (device.openCount > 0 && device.unregisterBegan === 0) {
        device.unregisterBegan = device.removeBegan;
      }
    }
  }
  for (const parent of world.parents) {
    if (parent.removerFoundBy === snapshot.number) {
      confirm(parent, snapshot);
      continue;
    }
    if (hasRemoverLeft(parent) && parent.foundBy === snapshot.number) forgetUnregistration(parent);
    const isGone = mayHaveEnded(parent, snapshot) || isUnregistering(parent);
    if (!isGone && !hasRemoverLeft(parent)) continue;
    if (parent.devices.size > 0) {
      // A parent that is being unregistered is not in sysfs, but exists until its last device is removed.
      parent.state = 'unregistering';
      confirm(parent, snapshot);
    } else {
      parent.state = 'gone';
      world.parents.end(parent);
    }
  }
  world.knowsParents = true;
}

/**
 * Sets the VM of a group only if the snapshot found a file of that VM. The pointer in the group may
 * dangle, and where no BTF describes the struct (5.10), it may not be a VM at all.
 */
function reconcileGroupVms(world: World, snapshot: Snapshot): void {
  for (const { group, low, high, time } of snapshot.groupVms) {
    const vm = world.vms.withKey(low, high);
    if (!vm || vm.isGone || time < group.setAt) continue;
    group.vm = vm;
    group.setLosses = snapshot.losses;
    for (const device of group.devices) {
      if (device.vmOfGroup && device.opens.length > 0) setHeldVm(device, vm, time);
    }
  }
  for (const group of world.groups.values()) {
    if (group.vm && group.setLosses < snapshot.losses) {
      // A lost event may have cleared it, and no record of the snapshot has confirmed it.
      group.vm = undefined;
      group.setAt = 0;
    }
    if (!group.vm && group.devices.length === 0) world.groups.delete(group.id);
  }
}

/** Called when all records of the snapshot have been processed. */
export function endSnapshot(world: World, event: EventCursor): void {
  const { snapshot } = world;
  if (!snapshot) return;
  if (event.covered & COVERED.FILES) {
    sweepOpens(world, snapshot, event);
    sweepContexts(world, snapshot);
  }
  if (event.covered & COVERED.SYSFS) sweepDevices(world, snapshot, event);
  if (event.covered & COVERED.NO_KVM) endVmsWithoutKvm(world, snapshot.began);
  reconcileGroupVms(world, snapshot);
  if (event.covered & COVERED.FILES)
    sweepVms(world, snapshot, event, (event.covered & COVERED.DEBUGFS) !== 0);
  if ((event.covered & COVERED.SYSFS) !== 0 && (event.covered & COVERED.FILES) !== 0)
    world.lossesReconciled = snapshot.losses;
  sweepCalls(world, snapshot);
  world.snapshot = undefined;
}
