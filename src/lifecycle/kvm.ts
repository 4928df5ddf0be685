/**
 * VMs and the references on them: virt/kvm/kvm_main.c.
 *
 * References are not counted from events: most calls of kvm_get_kvm() are inlined and cannot be
 * probed. Instead, each event samples users_count from the kernel.
 */
import type { EventCursor } from '../events/cursor.ts';
import { taskOf } from '../events/task.ts';
import { EVENT, POINT } from '../events/wire.gen.ts';
import { VM } from './automata.ts';
import type { Handlers } from './handler.ts';
import { Vm } from './objects.ts';
import { next } from './step.ts';
import type { Transition } from './transition.ts';
import type { World } from './world.ts';

const KEY_KVM = EVENT.kvm >> 2;

export function newVm(world: World, event: EventCursor, adopted: boolean): Vm {
  const vm = new Vm(event.time, adopted, world.losses);
  vm.creatorTid = event.vmPid;
  if (event.has(EVENT.kvm)) world.vms.addWithKey(vm, event, KEY_KVM);
  else world.vms.add(vm);
  return vm;
}

/**
 * A VM that was found in debugfs, which shows the thread that created it but no key. It gets its key here.
 */
function vmFromDebugfs(world: World, event: EventCursor): Vm | undefined {
  if (event.vmPid === 0) return undefined;
  for (const vm of world.vms) {
    if (vm.creatorTid !== event.vmPid || vm.keyLow !== 0 || vm.keyHigh !== 0) continue;
    world.vms.setKey(vm, event, KEY_KVM);
    return vm;
  }
  return undefined;
}

/** The VM that the event concerns. It is adopted if this is the first event about it. */
export function vmOf(world: World, event: EventCursor): Vm | undefined {
  if (!event.has(EVENT.kvm)) return undefined;
  return (
    world.vms.find(event, KEY_KVM) ??
    vmFromDebugfs(world, event) ??
    destroyedVm(world, event) ??
    newVm(world, event, true)
  );
}

/**
 * Whether a users_count means that no reference is left: 0, or the value at which refcount_t saturates
 * after an underflow.
 */
export function isUnreferenced(usersCount: number): boolean {
  return usersCount === 0 || usersCount < -1;
}

/** A VM that was destroyed although something still has a pointer to it. */
function destroyedVm(world: World, event: EventCursor): Vm | undefined {
  if (!isUnreferenced(event.usersCount)) return undefined;
  const low = event.words[event.word + KEY_KVM];
  const high = event.words[event.word + KEY_KVM + 1];
  return world.vms.ended
    .list()
    .findLast(
      (vm) =>
        vm.keyLow === low &&
        vm.keyHigh === high &&
        vm.destroyBegan > 0 &&
        vm.lossesAtEnd === world.losses,
    );
}

/**
 * Takes users_count from an event.
 * @param change by how much the probed function changes users_count after it was sampled
 */
function sampleUsers(
  world: World,
  event: EventCursor,
  transition: Transition,
  change: number,
): void {
  const vm = vmOf(world, event);
  if (!vm) return;
  if (event.usersCount >= 0) vm.users = event.usersCount + change;
  if (change !== 0 && world.calls.size > 0) {
    const { tid } = event;
    const fileCall =
      world.calls.of(tid, POINT.VFIO_DEVICE_OPEN) ?? world.calls.of(tid, POINT.VFIO_DEVICE_CLOSE);
    if (fileCall?.device) fileCall.device.driverRefs += change;
  }
  if (vm.creatorTid === 0) vm.creatorTid = event.vmPid;
  vm.timeline.add(event, vm.serial);
  transition.vm = vm;
}

/**
 * KVM was unloaded before that time. What VMs still had references are of no use to anybody any more, and no
 * event will end them.
 */
export function endVmsWithoutKvm(world: World, before: number): void {
  for (const vm of world.vms) {
    if (vm.firstSeen >= before) continue;
    vm.outlivedKvm = true;
    vm.endUnobserved();
    world.vms.end(vm);
  }
}

/** The VM that a thread is creating in a call whose begin was lost. */
function createdBy(world: World, tid: number): Vm | undefined {
  for (const vm of world.vms) if (vm.state === 'creating' && vm.creatorTid === tid) return vm;
  return undefined;
}

export const KVM_HANDLERS: Handlers = {
  'kvm.vm.init:begin'(world, event, transition) {
    const vm = newVm(world, event, false);
    vm.state = 'creating';
    vm.task = taskOf(event);
    vm.creatorTid = event.tid;
    vm.timeline.add(event, vm.serial);
    const creation = world.calls.of(event.tid, POINT.KVM_VM_CREATE);
    if (creation) creation.subject = vm;
    transition.vm = vm;
  },

  'kvm.vm.init:end'(world, event, transition) {
    const vm = transition.call?.vm;
    if (!vm) return;
    vm.timeline.add(event, vm.serial);
    transition.vm = vm;
    if (event.ret !== 0) {
      vm.state = next(VM, vm.state, 'create fails', vm, transition);
      world.vms.end(vm);
    } else {
      vm.users = event.usersCount;
    }
  },

  'kvm.vm.create:end'(world, event, transition) {
    const vm = transition.call?.vm ?? createdBy(world, event.tid);
    // The call failed before a VM existed, or kvm.vm.init failed, which has ended the VM.
    if (!vm || vm.state === 'failed') return;
    vm.timeline.add(event, vm.serial);
    transition.vm = vm;
    if (event.ret < 0) {
      // If kvm.vm.destroy did not end the VM, no later event will, so it ends here.
      if (!vm.isGone) {
        vm.state = next(VM, vm.state, 'create fails', vm, transition);
        world.vms.end(vm);
      }
    } else {
      vm.fd = event.ret;
      vm.createdAt = event.time;
      if (!vm.isGone) vm.state = next(VM, vm.state, 'created', vm, transition);
    }
  },

  'kvm.get:begin': (world, event, transition) => sampleUsers(world, event, transition, 1),
  'kvm.get_safe:begin': (world, event, transition) => sampleUsers(world, event, transition, 0),
  'kvm.get_safe:end': (world, event, transition) => sampleUsers(world, event, transition, 0),
  'kvm.put:begin': (world, event, transition) => sampleUsers(world, event, transition, -1),

  'kvm.vm.fd_close:begin'(world, event, transition) {
    const vm = vmOf(world, event);
    if (!vm) return;
    vm.fdClosedAt = event.time;
    vm.isCloseInferred = false;
    if (!vm.isGone) vm.state = next(VM, vm.state, 'fd closed', vm, transition);
    vm.users = event.usersCount;
    vm.timeline.add(event, vm.serial);
    transition.vm = vm;
  },

  'kvm.vm.destroy:begin'(world, event, transition) {
    const vm = vmOf(world, event);
    if (!vm) return;
    if (vm.isGone) {
      vm.timeline.add(event, vm.serial);
      transition.vm = vm;
      return;
    }
    vm.destroyBegan = event.time;
    vm.state = next(VM, vm.state, 'destroy begins', vm, transition);
    vm.users = 0;
    vm.timeline.add(event, vm.serial);
    transition.vm = vm;
    for (const device of vm.devices) device.timeline.add(event, vm.serial);
  },

  'kvm.vm.destroy:end'(world, event, transition) {
    // The begin of the call may be lost.
    const vm = transition.call?.vm ?? world.vms.find(event, KEY_KVM);
    if (!vm) return;
    vm.destroyedAt = event.time;
    vm.timeline.add(event, vm.serial);
    transition.vm = vm;
    if (vm.isOver) return;
    if (vm.state === 'destroying') vm.state = next(VM, vm.state, 'destroy ends', vm, transition);
    else vm.endUnobserved();
    world.vms.end(vm);
  },
};
