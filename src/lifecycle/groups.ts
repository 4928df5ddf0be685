/** VFIO groups: their files, their containers, and the VM that they belong to: drivers/vfio/group.c. */
import type { EventCursor } from '../events/cursor.ts';
import { vmOf } from './kvm.ts';
import type { Moment } from './moment.ts';
import type { Device } from './objects.ts';
import { hold } from './opens.ts';
import type { Handlers, World } from './world.ts';

export function joinGroup(world: World, device: Device, id: number): void {
  // It keeps the number of the group that it left, to be shown.
  if (id < 0 || world.groups.get(id)?.devices.has(device)) return;
  world.leaveGroup(device);
  device.groupId = id;
  world.group(id).devices.add(device);
}

export const GROUP_HANDLERS: Handlers = {
  'vfio.group.close:begin'(world, event, moment) {
    groupOf(world, event, moment);
    if (!moment.group) return;
    moment.group.closedAt = event.time;
    if (world.look?.pid !== event.pid) return;
    for (const device of moment.group.devices) world.look.putOff.add(device);
  },

  'vfio.group.detach:begin': groupOf,
  'vfio.group.unset_container:end': groupOf,
  'vfio.group.notify:end'(world, event, moment) {
    groupOf(world, event, moment);
    moment.vm = vmOf(world, event);
    for (const device of moment.group?.devices ?? []) {
      device.timeline.add(event, moment.vm?.serial ?? 0);
    }
  },

  'vfio.group.open:end'(world, event, moment) {
    groupOf(world, event, moment);
    if (moment.group && event.ret === 0) moment.group.closedAt = 0;
  },

  'vfio.group.set_kvm:begin'(world, event, moment) {
    const vm = vmOf(world, event);
    // During a look, that a group has no VM any more is newer than what the look will tell of it.
    const isNews = vm !== undefined || world.look !== undefined;
    const group = world.groups.get(event.groupId) ?? (isNews && world.group(event.groupId));
    if (!group) return;
    moment.group = group;
    moment.vm = vm ?? group.vm;
    moment.vmBefore = group.vm;
    group.vm = vm;
    group.setAt = event.time;
    group.setLosses = world.losses;
    group.clearedByExitAt = !vm && event.isExiting ? event.time : 0;
    for (const device of group.devices) {
      device.timeline.add(event, vm?.serial ?? 0);
      if (device.vmOfGroup && device.opens.length > 0) hold(device, vm, event.time);
    }
    moment.vm?.timeline.add(event, moment.vm.serial);
    if (!vm && group.devices.size === 0 && !world.look) world.groups.delete(group.id);
  },
};

function groupOf(world: World, event: EventCursor, moment: Moment): void {
  moment.group = world.groups.get(event.groupId);
}
