/** Why a device could not be opened, where a rule of its own tells it better than its errno does. */
import type { Moment } from '../lifecycle/moment.ts';
import type { Device, FdRequest, Vm } from '../lifecycle/objects.ts';
import { EEXIST, EINVAL, EPERM, ESRCH } from './errno.ts';
import type { DriverKnowledge, RuleContext } from './rule.ts';

export type Refusal =
  /** open-without-kvm */
  | { readonly because: 'no VM' }
  /** kvm-used-twice */
  | { readonly because: 'used twice'; readonly vm: Vm; readonly other: Device }
  /** foreign-opener */
  | { readonly because: 'foreign'; readonly vm: Vm };

/** Of 'vfio.device.get_fd:end'. @returns undefined for every other reason, which is open-failed */
export function refusalOf(
  { event, device, request }: Moment,
  { world, drivers }: RuleContext,
): Refusal | undefined {
  if (event.ret >= 0 || !device || !request) return undefined;
  const errno = -event.ret;
  const vm = vmAskedFor(request, world.groups.get(request.groupId)?.vm);
  if (!vm) return lacksVm(device, request, errno, drivers) ? { because: 'no VM' } : undefined;
  const other = errno === EEXIST || errno === EPERM ? siblingWith(vm, device) : undefined;
  if (other) return { because: 'used twice', vm, other };
  const isForeign = errno === ESRCH && request.open?.foreign;
  return isForeign ? { because: 'foreign', vm } : undefined;
}

/** What the device captured, or where that is not to be seen when it is refused, its group's. */
export function vmAskedFor({ open }: FdRequest, ofGroup: Vm | undefined): Vm | undefined {
  return open?.vm ?? open?.device.vmOffered ?? ofGroup;
}

/** In 5.10 all mdevs are bound to one driver, behind which is that of their parent. */
export function driverOf({ driver, parent }: Device): string {
  return parent && driver === 'vfio_mdev' ? parent.driver : driver;
}

/** Another device in use for that VM, among which and this one the driver may choose. */
export function siblingWith(vm: Vm, device: Device): Device | undefined {
  for (const other of vm.devices) {
    if (other !== device && other.openCount > 0 && areSiblings(other, device)) return other;
  }
  return undefined;
}

function areSiblings(one: Device, other: Device): boolean {
  if (driverOf(one) === '' || driverOf(one) !== driverOf(other)) return false;
  return !one.isMdev || one.parentName === other.parentName;
}

/** Before the driver was reached, EINVAL says that the group has no container. */
function lacksVm(
  device: Device,
  { openError }: FdRequest,
  errno: number,
  { needKvm }: DriverKnowledge,
): boolean {
  return needKvm.has(driverOf(device)) && (errno === ESRCH || (errno === EINVAL && openError > 0));
}
