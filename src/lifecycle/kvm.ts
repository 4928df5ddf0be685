/**
 * VMs and the references that keep them alive: virt/kvm/kvm_main.c.
 *
 * users_count is what counts: most gets are inlined and never seen, so each
 * event carries the count instead of being counted itself.
 */
import type { EventCursor } from '../events/cursor.ts';
import { EVENT } from '../events/wire.gen.ts';
import { next, VM } from './automata.ts';
import type { Moment } from './moment.ts';
import { taskOf, Vm } from './objects.ts';
import type { Handlers, World } from './world.ts';

const KEY_KVM = EVENT.kvm >> 2;

export function newVm(world: World, event: EventCursor, adopted: boolean): Vm {
  const stale = world.vmKeys.find(event.u32, event.word + KEY_KVM);
  if (stale) supersede(world, stale);
  const vm = new Vm(event.time, adopted, world.losses);
  vm.makerTid = event.vmPid;
  world.vms.add(vm);
  if (event.has(EVENT.kvm)) keyVm(world, vm, event);
  return vm;
}

function keyVm(world: World, vm: Vm, event: EventCursor): void {
  vm.keyLow = event.u32[event.word + KEY_KVM];
  vm.keyHigh = event.u32[event.word + KEY_KVM + 1];
  world.vmKeys.set(vm.keyLow, vm.keyHigh, vm);
}

/** A VM that was found in debugfs, which tells its maker but no key; it learns it now. */
function listedVm(world: World, event: EventCursor): Vm | undefined {
  if (event.vmPid === 0) return undefined;
  for (const vm of world.vms) {
    if (vm.makerTid !== event.vmPid || vm.keyLow !== 0 || vm.keyHigh !== 0) continue;
    keyVm(world, vm, event);
    return vm;
  }
  return undefined;
}

/** The VM of an event, made known if it existed before it was first seen. */
export function vmOf(world: World, event: EventCursor): Vm | undefined {
  if (!event.has(EVENT.kvm)) return undefined;
  return (
    world.vmKeys.find(event.u32, event.word + KEY_KVM) ??
    listedVm(world, event) ??
    deadVm(world, event) ??
    newVm(world, event, true)
  );
}

/** Whether a users_count is one of nobody: zero, or what refcount_t sets once it was driven below. */
export function isOfNobody(usersCount: number): boolean {
  return usersCount === 0 || usersCount < -1;
}

/** One that was destroyed, and to which somebody still has a pointer. */
function deadVm(world: World, event: EventCursor): Vm | undefined {
  if (!isOfNobody(event.usersCount)) return undefined;
  const low = event.u32[event.word + KEY_KVM];
  const high = event.u32[event.word + KEY_KVM + 1];
  return world.endedVms
    .list()
    .findLast(
      (vm) =>
        vm.keyLow === low &&
        vm.keyHigh === high &&
        vm.destroyBegan > 0 &&
        vm.lossesAtEnd === world.losses,
    );
}

/** Its address belongs to another VM now, so its end was missed. */
function supersede(world: World, vm: Vm): void {
  vm.state = 'destroyed';
  world.endVm(vm);
}

/** Notes an event that changes users_count by `change` after its sample was taken. */
function count(world: World, event: EventCursor, moment: Moment, change: number): void {
  const vm = vmOf(world, event);
  if (!vm) return;
  if (event.usersCount >= 0) vm.users = event.usersCount + change;
  if (change !== 0 && (world.opening.size > 0 || world.closing.size > 0)) {
    const open = world.opening.get(event.tid) ?? world.closing.get(event.tid);
    if (open) open.device.driverRefs += change;
  }
  if (vm.makerTid === 0) vm.makerTid = event.vmPid;
  vm.timeline.add(event, vm.serial);
  moment.vm = vm;
}

export const KVM_HANDLERS: Handlers = {
  'kvm.vm.init:begin'(world, event, moment) {
    const vm = newVm(world, event, false);
    vm.state = 'creating';
    vm.task = taskOf(event);
    vm.makerTid = event.tid;
    vm.timeline.add(event, vm.serial);
    world.vmCreating.set(event.tid, vm);
    moment.vm = vm;
  },

  'kvm.vm.init:end'(world, event, moment) {
    const vm = world.vmCreating.get(event.tid);
    if (!vm) return;
    vm.timeline.add(event, vm.serial);
    moment.vm = vm;
    if (event.ret !== 0) {
      world.vmCreating.delete(event.tid);
      vm.state = next(VM, vm.state, 'refused', vm, moment);
      world.endVm(vm);
    } else {
      vm.users = event.usersCount;
    }
  },

  'kvm.vm.create:end'(world, event, moment) {
    const vm = world.vmCreating.get(event.tid);
    if (!vm) return;
    world.vmCreating.delete(event.tid);
    vm.timeline.add(event, vm.serial);
    moment.vm = vm;
    moment.duration = event.time - vm.firstSeen;
    if (event.ret < 0) {
      // Past the point where the kernel would have told us by destroying it.
      if (!vm.isOver) {
        vm.state = next(VM, vm.state, 'refused', vm, moment);
        world.endVm(vm);
      }
    } else {
      vm.fd = event.ret;
      vm.createdAt = event.time;
      if (!vm.isOver) vm.state = next(VM, vm.state, 'created', vm, moment);
    }
  },

  'kvm.get:begin': (world, event, moment) => count(world, event, moment, 1),
  'kvm.get_safe:begin': (world, event, moment) => count(world, event, moment, 0),
  'kvm.get_safe:end': (world, event, moment) => count(world, event, moment, 0),
  'kvm.put:begin': (world, event, moment) => count(world, event, moment, -1),

  'kvm.vm.fd_close:begin'(world, event, moment) {
    const vm = vmOf(world, event);
    if (!vm) return;
    vm.fdClosedAt = event.time;
    if (!vm.isOver) vm.state = next(VM, vm.state, 'descriptor closed', vm, moment);
    vm.users = event.usersCount;
    vm.timeline.add(event, vm.serial);
    moment.vm = vm;
  },

  'kvm.vm.destroy:begin'(world, event, moment) {
    const vm = vmOf(world, event);
    if (!vm) return;
    if (vm.isOver) {
      vm.timeline.add(event, vm.serial);
      moment.vm = vm;
      return;
    }
    vm.destroyBegan = event.time;
    vm.state = next(VM, vm.state, 'destroyed', vm, moment);
    vm.users = 0;
    vm.timeline.add(event, vm.serial);
    moment.vm = vm;
    for (const device of vm.devices) device.timeline.add(event, vm.serial);
    world.vmDestroying.set(event.tid, vm);
    world.endVm(vm);
  },

  'kvm.vm.destroy:end'(world, event, moment) {
    const vm = world.vmDestroying.get(event.tid);
    if (!vm) return;
    world.vmDestroying.delete(event.tid);
    vm.destroyedAt = event.time;
    vm.timeline.add(event, vm.serial);
    moment.vm = vm;
    moment.duration = event.time - vm.destroyBegan;
  },
};
