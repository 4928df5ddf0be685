/** Requests to map memory for DMA, of which only those that failed are recorded. */
import type { EventCursor } from '../events/cursor.ts';
import { SECOND } from '../units.ts';
import type { Handlers } from './handler.ts';
import type { Device, Mapper, Vm } from './objects.ts';
import type { World } from './world.ts';

/** A process that maps again and again is not looked up again within that time. */
const FRESH = SECOND;

export const DMA_HANDLERS: Handlers = {
  'vfio.dma.map:end'(world, event, transition) {
    const { devices, vm } = mapperOf(world, event);
    for (const device of devices) device.timeline.add(event, vm?.serial ?? 0);
    vm?.timeline.add(event, vm.serial);
    [transition.device] = devices;
    transition.vm = vm;
  },
};

/** The request is made to a container or an address space, so its process has to lead to the devices. */
function mapperOf(world: World, { pid, time }: EventCursor): Mapper {
  const known = world.mapper;
  const isFresh = known?.pid === pid && time - known.since < FRESH;
  if (isFresh && !known.vm?.isOver && !known.devices.some(({ isOver }) => isOver)) return known;
  const opened = new Set<Device>();
  for (const { task, device, state } of world.opens) {
    if (task.pid === pid && (state === 'open' || state === 'opening')) opened.add(device);
  }
  const devices = opened.size > 0 ? [...opened] : devicesOfGroups(world, pid);
  const mapper = {
    pid,
    since: time,
    devices,
    hasDevices: opened.size > 0,
    vm: vmOf(world, pid, devices),
  };
  world.mapper = mapper;
  return mapper;
}

/** A VMM maps the memory of its guest before it opens the first device. */
function devicesOfGroups(world: World, pid: number): Device[] {
  const groups = [...world.groups.values()].filter(({ user }) => user?.pid === pid);
  return groups.flatMap(({ devices }) => [...devices]);
}

function vmOf(world: World, pid: number, devices: readonly Device[]): Vm | undefined {
  for (const device of devices) {
    const vm = device.vm ?? world.groups.get(device.groupId)?.vm;
    if (vm) return vm;
  }
  for (const vm of world.vms) if (vm.task?.pid === pid && vm.state === 'running') return vm;
  return undefined;
}
