/**
 * What a blocked task waits for, as its kernel stack shows it, and whether a holder waits for the remover
 * that waits for the holder. A driver's remove callback is called with the lock of its device held;
 * a holder that resets the device, changes its virtual functions or binds its driver sleeps for that
 * lock, and no signal wakes it.
 */
import type { BlockedTask } from '../events/host.ts';

/** What sleeps for a lock: /proc/PID/stack mostly leaves such functions out, and so does wchan. */
const SLEEPS = /^_*(?:mutex_lock|rwsem_down|down_read|down_write|rt_mutex|ww_mutex_lock|schedule)/;
/** What takes the lock of a device, and sleeps for nothing else: drivers/base, drivers/pci. */
const TAKES_DEVICE_LOCK =
  /^_*(?:device_lock|kill_device|device_del|device_shutdown|device_driver_lock|device_driver_(?:at|de)tach|device_attach|device_attach_async_helper|device_release_driver|device_release_driver_internal|driver_(?:at|de)tach|driver_attach_async_helper|bus_rescan_devices_helper|pci_dev_lock|pci_bus_lock|pci_slot_lock|pci_(?:try_)?reset_\w+|reset_store|remove_store|sriov_numvfs_store|(?:un)?bind_store|driver_override_store|pci_(?:en|dis)able_sriov)$/;
/** The functions of VFIO, of mdevs, of the IOMMU and of KVM's list of VFIO files. */
const INSIDE_VFIO = /^_*(?:vfio|mdev|iommu|iommufd|kvm_vfio)_/;

/** The removal of a device waits there until nobody has that device open. */
const AWAITS_USERS = /^vfio_(?:unregister_group_dev|del_group_dev)$/;

/** Whether a task sleeps for the lock of a device, as far as its stack or, without that, wchan shows. */
export function isLockWait(task: BlockedTask): boolean {
  return waitOf(task) === 'device lock';
}

/**
 * What a task in state D waits for other tasks to do: to release the lock of a device, to close the
 * device that it removes, or what a function of VFIO, mdev or the IOMMU itself sleeps for.
 */
export type WaitsFor = 'device lock' | 'users' | 'VFIO';

/** @returns undefined for all else, such as a driver that waits for its hardware */
export function waitOf(task: BlockedTask): WaitsFor | undefined {
  if (!task.state.startsWith('D')) return undefined;
  const sleeper = sleeperOf(task) ?? '';
  if (TAKES_DEVICE_LOCK.test(sleeper)) return 'device lock';
  if (AWAITS_USERS.test(sleeper)) return 'users';
  return INSIDE_VFIO.test(sleeper) ? 'VFIO' : undefined;
}

/** Whether a task is in a function that was called with the lock of a device held. */
export function hasDeviceLock(task: BlockedTask): boolean {
  const callers = task.stack?.slice(1) ?? [];
  return !isLockWait(task) && callers.some((frame) => TAKES_DEVICE_LOCK.test(functionOf(frame)));
}

/** The innermost function that sleeps for a reason of its own; undefined where it must not be read. */
export function sleeperOf({ wchan, stack }: BlockedTask): string | undefined {
  return stack?.map(functionOf).find((name) => !SLEEPS.test(name)) ?? wchan;
}

/** " in reset_store (D (disk sleep))", for a sentence that says who waits. */
export function waitWords(task: BlockedTask): string {
  const sleeper = sleeperOf(task);
  return sleeper ? ` in ${sleeper} (${task.state})` : ` (${task.state})`;
}

/** "reset_store" of "reset_store+0x3e/0x80 [module]"; the compiler may have made it a part of its own. */
function functionOf(frame: string): string {
  return frame.replace(/[+ .].*$/, '');
}
