/** The logical points by name, and the event kinds (a point's begin or end) that rules listen to. */
import { POINT, POINT_LIMIT } from './wire.gen.ts';

export const POINTS = {
  'mdev.parent.register': POINT.MDEV_PARENT_REGISTER,
  'mdev.parent.unregister': POINT.MDEV_PARENT_UNREGISTER,
  'mdev.create': POINT.MDEV_CREATE,
  'mdev.probe': POINT.MDEV_PROBE,
  'mdev.remove': POINT.MDEV_REMOVE,
  'mdev.remove_child': POINT.MDEV_REMOVE_CHILD,
  'mdev.unbind': POINT.MDEV_UNBIND,
  'mdev.release': POINT.MDEV_RELEASE,
  'mdev.driver.unregister': POINT.MDEV_DRIVER_UNREGISTER,
  'vfio.init': POINT.VFIO_INIT,
  'vfio.register': POINT.VFIO_REGISTER,
  'vfio.register_emulated': POINT.VFIO_REGISTER_EMULATED,
  'vfio.unregister': POINT.VFIO_UNREGISTER,
  'vfio.release': POINT.VFIO_RELEASE,
  'vfio.group.open': POINT.VFIO_GROUP_OPEN,
  'vfio.group.close': POINT.VFIO_GROUP_CLOSE,
  'vfio.group.unset_container': POINT.VFIO_GROUP_UNSET_CONTAINER,
  'vfio.group.detach': POINT.VFIO_GROUP_DETACH,
  'vfio.group.set_kvm': POINT.VFIO_GROUP_SET_KVM,
  'vfio.group.notify': POINT.VFIO_GROUP_NOTIFY,
  'vfio.device.get_fd': POINT.VFIO_DEVICE_GET_FD,
  'vfio.device.open': POINT.VFIO_DEVICE_OPEN,
  'vfio.device.close': POINT.VFIO_DEVICE_CLOSE,
  'vfio.device.kvm_capture': POINT.VFIO_DEVICE_KVM_CAPTURE,
  'vfio.device.kvm_drop': POINT.VFIO_DEVICE_KVM_DROP,
  'vfio.dma.map': POINT.VFIO_DMA_MAP,
  'vfio.cdev.open': POINT.VFIO_CDEV_OPEN,
  'vfio.cdev.close': POINT.VFIO_CDEV_CLOSE,
  'vfio.cdev.set_kvm': POINT.VFIO_CDEV_SET_KVM,
  'vfio.cdev.bind': POINT.VFIO_CDEV_BIND,
  'vfio.cdev.block_group': POINT.VFIO_CDEV_BLOCK_GROUP,
  'vfio.cdev.unbind': POINT.VFIO_CDEV_UNBIND,
  'vfio.cdev.attach': POINT.VFIO_CDEV_ATTACH,
  'vfio.cdev.detach': POINT.VFIO_CDEV_DETACH,
  'iommufd.open': POINT.IOMMUFD_OPEN,
  'iommufd.close': POINT.IOMMUFD_CLOSE,
  'kvm.vm.create': POINT.KVM_VM_CREATE,
  'kvm.vm.init': POINT.KVM_VM_INIT,
  'kvm.vm.destroy': POINT.KVM_VM_DESTROY,
  'kvm.vm.fd_close': POINT.KVM_VM_FD_CLOSE,
  'kvm.get': POINT.KVM_GET,
  'kvm.get_safe': POINT.KVM_GET_SAFE,
  'kvm.put': POINT.KVM_PUT,
  'module.load': POINT.MODULE_LOAD,
  'module.unload': POINT.MODULE_UNLOAD,
  'snapshot.run': POINT.SNAPSHOT_RUN,
  'snapshot.parent': POINT.SNAPSHOT_PARENT,
  'snapshot.device': POINT.SNAPSHOT_DEVICE,
  'snapshot.open': POINT.SNAPSHOT_OPEN,
  'snapshot.group': POINT.SNAPSHOT_GROUP,
  'snapshot.cdev': POINT.SNAPSHOT_CDEV,
  'snapshot.iommufd': POINT.SNAPSHOT_IOMMUFD,
  'snapshot.vm': POINT.SNAPSHOT_VM,
  'snapshot.vm_file': POINT.SNAPSHOT_VM_FILE,
  'snapshot.vm_entry': POINT.SNAPSHOT_VM_ENTRY,
  'snapshot.removal': POINT.SNAPSHOT_REMOVAL,
  'snapshot.unregister': POINT.SNAPSHOT_UNREGISTER,
} as const;

export type PointName = keyof typeof POINTS;
export type EventKind = `${PointName}:${'begin' | 'end'}`;

/** Points with a begin alone: nothing depends on when their function returns. All others are calls. */
const WITHOUT_END: ReadonlySet<PointName> = new Set([
  'mdev.driver.unregister',
  'vfio.group.close',
  'vfio.group.detach',
  'vfio.group.set_kvm',
  'vfio.device.kvm_drop',
  'vfio.cdev.set_kvm',
  'vfio.cdev.unbind',
  'iommufd.close',
  'kvm.get',
  'kvm.put',
  'module.load',
  'snapshot.parent',
  'snapshot.device',
  'snapshot.open',
  'snapshot.group',
  'snapshot.cdev',
  'snapshot.iommufd',
  'snapshot.vm',
  'snapshot.vm_file',
  'snapshot.vm_entry',
  'snapshot.removal',
  'snapshot.unregister',
]);

/** Points with an end alone: calls that happen so often that only those that fail are recorded. */
const WITHOUT_BEGIN: ReadonlySet<PointName> = new Set(['vfio.dma.map']);

/** Whether a point has a begin and an end, with a call of one thread between them. */
export function isCall(point: PointName): boolean {
  return !WITHOUT_END.has(point) && !WITHOUT_BEGIN.has(point) && point !== 'snapshot.run';
}

export const POINT_NAMES = Object.keys(POINTS) as readonly PointName[];

const NAME_OF: (PointName | undefined)[] = [];
for (const name of POINT_NAMES) NAME_OF[POINTS[name]] = name;

/** @returns undefined for a number that no point has, as in a record of a newer format */
export function pointName(point: number): PointName | undefined {
  return NAME_OF[point];
}

/** A dense number for an event kind, to index tables with. */
export function kindIndex(point: number, isEnd: boolean): number {
  return point * 2 + (isEnd ? 1 : 0);
}

/** The index of an event kind given by name. */
export function kindIndexOf(name: EventKind): number {
  const split = name.lastIndexOf(':');
  return kindIndex(POINTS[name.slice(0, split) as PointName], name.endsWith(':end'));
}

/** Kind indices are below it. */
export const KIND_COUNT = POINT_LIMIT * 2;
