/** The logical points by name, and the moments (a point's begin or end) that rules listen to. */
import { POINT } from '../events/wire.gen.ts';

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
  'kvm.vm.create': POINT.KVM_VM_CREATE,
  'kvm.vm.init': POINT.KVM_VM_INIT,
  'kvm.vm.destroy': POINT.KVM_VM_DESTROY,
  'kvm.vm.fd_close': POINT.KVM_VM_FD_CLOSE,
  'kvm.get': POINT.KVM_GET,
  'kvm.get_safe': POINT.KVM_GET_SAFE,
  'kvm.put': POINT.KVM_PUT,
  'module.load': POINT.MODULE_LOAD,
  'module.unload': POINT.MODULE_UNLOAD,
  'seen.snapshot': POINT.SEEN_SNAPSHOT,
  'seen.parent': POINT.SEEN_PARENT,
  'seen.device': POINT.SEEN_DEVICE,
  'seen.open': POINT.SEEN_OPEN,
  'seen.group': POINT.SEEN_GROUP,
  'seen.vm': POINT.SEEN_VM,
  'seen.vm_file': POINT.SEEN_VM_FILE,
  'seen.vm_entry': POINT.SEEN_VM_ENTRY,
} as const;

export type PointName = keyof typeof POINTS;
export type MomentName = `${PointName}:${'begin' | 'end'}`;

export const POINT_NAMES = Object.keys(POINTS) as readonly PointName[];

const NAME_OF: (PointName | undefined)[] = [];
for (const name of POINT_NAMES) NAME_OF[POINTS[name]] = name;

/** @returns undefined for a number that no point has, as in a record of a newer format */
export function pointName(point: number): PointName | undefined {
  return NAME_OF[point];
}

/** A dense number for a moment, to index tables with. */
export function momentIndex(point: number, isEnd: boolean): number {
  return point * 2 + (isEnd ? 1 : 0);
}

/** The index of a moment given by name. */
export function momentIndexOf(name: MomentName): number {
  const split = name.lastIndexOf(':');
  return momentIndex(POINTS[name.slice(0, split) as PointName], name.endsWith(':end'));
}

/** One more than the largest moment index. */
export const MOMENT_COUNT = POINT.POINT_COUNT * 2;
