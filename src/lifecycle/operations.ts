/**
 * The operations that operators know, such as the open of a device, and the calls of probed functions
 * that belong to each. Which operations are in progress follows from the calls in flight.
 *
 * One operation can be several nested calls of one thread: a creation calls the driver's probe, which
 * registers the device with VFIO. It counts once, as the outermost of them.
 */
import { POINT_NAMES, POINTS, type PointName } from '../events/points.ts';
import { POINT_LIMIT } from '../events/wire.gen.ts';
import type { Call } from './calls.ts';
import type { Device } from './objects.ts';
import type { ShownDeviceState } from './states.ts';
import type { World } from './world.ts';

export type OperationName =
  | 'create'
  | 'bind'
  | 'open'
  | 'close'
  | 'attach'
  | 'detach'
  | 'remove'
  | 'parent_register'
  | 'parent_unregister'
  | 'vm_create'
  | 'vm_close'
  | 'vm_destroy'
  | 'group_open'
  | 'group_detach'
  | 'module_unload';

export interface Operation {
  readonly name: OperationName;
  /** What it is, as documentation lists it. */
  readonly description: string;
  /** Its calls, outermost first: a thread that is in several of them is in one operation. */
  readonly points: readonly PointName[];
  /** Operations of which it is only a part when the same thread is in one of them. */
  readonly partOf?: readonly OperationName[];
}

export const OPERATIONS: readonly Operation[] = [
  { name: 'create', description: 'a write to `create`', points: ['mdev.create'] },
  {
    name: 'bind',
    description: 'a driver sets a device up and registers it, outside of a write to `create`',
    points: ['mdev.probe', 'vfio.init', 'vfio.register', 'vfio.register_emulated'],
    partOf: ['create'],
  },
  {
    name: 'open',
    description: 'a device file is requested or opened, or a device cdev is bound to an iommufd',
    points: ['vfio.device.get_fd', 'vfio.cdev.bind', 'vfio.device.open'],
  },
  {
    name: 'close',
    description: 'a device file or device cdev is closed',
    points: ['vfio.cdev.close', 'vfio.device.close'],
  },
  {
    name: 'attach',
    description: 'a device is attached to an address space or page table of its iommufd',
    points: ['vfio.cdev.attach'],
  },
  {
    name: 'detach',
    description: 'a device is detached from the address space or page table of its iommufd',
    points: ['vfio.cdev.detach'],
  },
  {
    name: 'remove',
    description: 'a device is removed or unregistered, including the wait for users',
    points: [
      ...(['mdev.remove', 'mdev.remove_child', 'mdev.unbind', 'vfio.unregister'] as const),
      ...(['mdev.release', 'vfio.release'] as const),
    ],
    partOf: ['create', 'bind'],
  },
  {
    name: 'parent_register',
    description: 'a driver registers a parent',
    points: ['mdev.parent.register'],
  },
  {
    name: 'parent_unregister',
    description: 'a parent is unregistered together with its devices',
    points: ['mdev.parent.unregister'],
  },
  {
    name: 'vm_create',
    description: 'KVM creates a VM',
    points: ['kvm.vm.create', 'kvm.vm.init'],
  },
  {
    name: 'vm_close',
    description: 'the last file descriptor of a VM is closed',
    points: ['kvm.vm.fd_close'],
  },
  { name: 'vm_destroy', description: 'KVM destroys a VM', points: ['kvm.vm.destroy'] },
  { name: 'group_open', description: 'a VFIO group is opened', points: ['vfio.group.open'] },
  {
    name: 'group_detach',
    description: 'a VFIO group is detached from its container',
    points: ['vfio.group.unset_container'],
  },
  {
    name: 'module_unload',
    description: 'a kernel module is unloaded',
    points: ['module.unload'],
  },
];

const BY_NAME = new Map(OPERATIONS.map((operation) => [operation.name, operation]));

/** By point: the points of which a call at that point is only a part, when the same thread is in one. */
const COVERED_BY: readonly (readonly number[])[] = coveringPoints();

function coveringPoints(): number[][] {
  const covering: number[][] = Array.from({ length: POINT_LIMIT }, () => []);
  for (const { points, partOf = [] } of OPERATIONS) {
    const outer = partOf.flatMap((name) => BY_NAME.get(name)?.points ?? []);
    for (const [i, point] of points.entries()) {
      covering[POINTS[point]] = [...points.slice(0, i), ...outer].map((name) => POINTS[name]);
    }
  }
  return covering;
}

/** Whether a call is only a part of an operation that the same thread is in. */
export function isPart({ calls }: World, { point, tid }: Pick<Call, 'point' | 'tid'>): boolean {
  for (const outer of COVERED_BY[point]) if (calls.of(tid, outer)) return true;
  return false;
}

/** The outermost call of each operation of that kind in progress, oldest first. */
export function inProgress(world: World, name: OperationName): readonly Call[] {
  const { calls } = world;
  if (calls.size === 0) return [];
  const points = BY_NAME.get(name)?.points ?? [];
  const found = points.flatMap((point) =>
    calls.at(POINTS[point]).filter((call) => !isPart(world, call)),
  );
  return points.length > 1 ? found.sort((a, b) => a.began - b.began) : found;
}

/** The device that a call is about, also while it only waits for the open of it to begin. */
export function deviceOfCall({ device, request }: Readonly<Call>): Device | undefined {
  return device ?? request?.open?.device;
}

/**
 * The states of devices as users see them: those that a call in flight is about to change are shown as
 * opening, closing or binding, and those that no call will free as removed.
 */
export function shownStates(world: World): (device: Device) => ShownDeviceState {
  const devicesIn = (name: OperationName) => new Set(inProgress(world, name).map(deviceOfCall));
  const [opening, closing, binding] = (['open', 'close', 'bind'] as const).map(devicesIn);
  return (device) => {
    const { state } = device;
    if (device.isUnfreed) return 'removed';
    if (state === 'bound' && binding.has(device)) return 'binding';
    if (state === 'bound' && opening.has(device)) return 'opening';
    return state === 'open' && closing.has(device) && !device.isOpen ? 'closing' : state;
  };
}

/** The operation that a call at a point belongs to. */
export function operationAt(point: number): OperationName | undefined {
  return OPERATION_AT[point];
}

const OPERATION_AT: (OperationName | undefined)[] = new Array(POINT_LIMIT).fill(undefined);
for (const point of POINT_NAMES) {
  OPERATION_AT[POINTS[point]] = OPERATIONS.find(({ points }) => points.includes(point))?.name;
}
