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
  const opens = [...world.opens].filter(({ task, state }) => task.pid === pid && state === 'open');
  const groups = [...world.groups.values()].filter(({ user }) => user?.pid === pid);
  const hasDevices = opens.length > 0;
  const devices = hasDevices
    ? [...new Set(opens.map(({ device }) => device))]
    : // A VMM maps the memory of its guest before it opens the first device.
      groups.flatMap((group) => group.devices);
  const vm = vmOf(world, pid, devices);
  const had = hasDevices ? opens : groups;
  const observed = had.filter(({ openedAt }) => openedAt > 0).length;
  const hadSince = Math.min(
    ...opens.map(({ openedAt, firstSeen }) => openedAt || firstSeen),
    ...groups.map(({ userSince }) => userSince),
    ...(vm?.task?.pid === pid ? [vm.createdAt || vm.firstSeen] : []),
  );
  const mapper = {
    pid,
    since: time,
    devices,
    hasDevices,
    observed: observed === had.length ? 'all' : observed > 0 ? 'some' : 'none',
    ...{ hadSince, vm },
  } as const;
  world.mapper = mapper;
  return mapper;
}

function vmOf(world: World, pid: number, devices: readonly Device[]): Vm | undefined {
  for (const device of devices) {
    const vm = device.vm ?? world.groups.get(device.groupId)?.vm;
    if (vm) return vm;
  }
  for (const vm of world.vms) if (vm.task?.pid === pid && vm.state === 'running') return vm;
  return undefined;
}
