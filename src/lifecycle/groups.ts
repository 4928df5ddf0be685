/** VFIO groups: their files, their containers, and the VM that is set for them: drivers/vfio/group.c. */
import type { EventCursor } from '../events/cursor.ts';
import { taskOf } from '../events/task.ts';
import { setHeldVm } from './associate.ts';
import type { Handlers } from './handler.ts';
import { vmOf } from './kvm.ts';
import type { Group, Vm } from './objects.ts';
import type { Transition } from './transition.ts';
import type { World } from './world.ts';

export const GROUP_HANDLERS: Handlers = {
  'vfio.group.close:begin'(world, event, transition) {
    groupWithDevices(world, event, transition);
    if (!transition.group) return;
    transition.group.closedAt = event.time;
    if (world.snapshot?.pid !== event.pid) return;
    for (const device of transition.group.devices) world.snapshot.delayedCloses.add(device);
  },

  'vfio.group.detach:begin': groupOf,
  'vfio.group.unset_container:begin': groupOf,
  'vfio.group.unset_container:end': groupOf,
  'vfio.group.notify:end'(world, event, transition) {
    groupOf(world, event, transition);
    transition.vm = vmOf(world, event);
    if (transition.group) addToDevices(transition.group, event, transition.vm);
  },

  'vfio.group.open:begin': groupWithDevices,
  'vfio.group.open:end'(world, event, transition) {
    groupWithDevices(world, event, transition);
    const { group } = transition;
    if (!group || event.ret !== 0) return;
    group.closedAt = 0;
    group.opener = taskOf(event);
    group.openedAt = event.time;
    group.userSince = event.time;
    group.requests = 0;
  },

  'vfio.group.set_kvm:begin'(world, event, transition) {
    const vm = vmOf(world, event);
    // The records of a host snapshot in progress may still name the VM that this event removes. Without
    // a group that remembers the removal, they would set it again.
    const isNeeded = vm !== undefined || world.snapshot !== undefined;
    const group = world.groups.get(event.groupId) ?? (isNeeded && world.group(event.groupId));
    if (!group) return;
    transition.group = group;
    transition.vm = vm ?? group.vm;
    transition.vmBefore = group.vm;
    group.vm = vm;
    group.setAt = event.time;
    group.setLosses = world.losses;
    for (const device of group.devices) {
      device.timeline.add(event, vm?.serial ?? 0);
      if (device.vmOfGroup && device.opens.length > 0) setHeldVm(device, vm, event.time);
    }
    transition.vm?.timeline.add(event, transition.vm.serial);
    if (!vm && group.devices.length === 0 && !world.snapshot) world.groups.delete(group.id);
  },
};

/** A group has no timeline of its own: what happens to it is in those of its devices. */
export function addToDevices(
  { devices }: Pick<Group, 'devices'>,
  event: EventCursor,
  vm: Vm | undefined,
): void {
  for (const device of devices) device.timeline.add(event, vm?.serial ?? 0);
}

function groupWithDevices(world: World, event: EventCursor, transition: Transition): void {
  groupOf(world, event, transition);
  const { group } = transition;
  if (group) addToDevices(group, event, group.vm);
}

function groupOf(world: World, event: EventCursor, transition: Transition): void {
  transition.group = world.groups.get(event.groupId);
}
