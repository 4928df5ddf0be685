/** Why an open was refused, for the causes that have a rule of their own. */

import type { Device, OpenRequest, Vm } from '../lifecycle/objects.ts';
import { EEXIST, EINVAL, EPERM, ESRCH } from './errno.ts';
import type { DriverKnowledge, ObservedTransition, RuleContext } from './rule.ts';
import { type Unviable, unviable } from './viability.ts';

export type Refusal =
  /** group-not-viable */
  | { readonly because: 'not viable'; readonly group: Unviable }
  /** open-without-kvm */
  | { readonly because: 'no VM' }
  /** kvm-used-twice */
  | { readonly because: 'used twice'; readonly vm: Vm; readonly other: Device }
  /** foreign-opener */
  | { readonly because: 'foreign'; readonly vm: Vm };

/**
 * Of 'vfio.device.get_fd:end' and 'vfio.cdev.bind:end'.
 * @returns undefined for every other reason, which is open-failed or bind-refused
 */
export function refusalOf(
  transition: ObservedTransition,
  context: RuleContext,
): Refusal | undefined {
  const { event, device, request } = transition;
  if (event.ret >= 0 || !device || !request || request.groupError) return undefined;
  const { world, drivers } = context;
  const errno = -event.ret;
  // Where the open of the device was reached, its group is viable.
  if (errno === EINVAL && !request.openError && !device.isMdev && !transition.cdev) {
    const group = unviable(request.groupId, context);
    if (group) return { because: 'not viable', group };
  }
  const { cdev } = transition;
  const vm = vmAskedFor(request, cdev ? cdev.vm : world.groups.get(request.groupId)?.vm);
  if (!vm) return lacksVm(device, request, errno, drivers) ? { because: 'no VM' } : undefined;
  const other = errno === EEXIST || errno === EPERM ? siblingWith(vm, device) : undefined;
  if (other) return { because: 'used twice', vm, other };
  const isForeign = errno === ESRCH && request.open?.foreign;
  return isForeign ? { because: 'foreign', vm } : undefined;
}

/** @param set the VM of its group or cdev, for where the capture is not observed */
export function vmAskedFor({ open }: OpenRequest, set: Vm | undefined): Vm | undefined {
  return open?.vm ?? open?.device.vmOffered ?? set;
}

/** In 5.10 all mdevs are bound to vfio_mdev, which calls the driver of their parent. */
export function driverOf({ driver, parent }: Device): string {
  return parent && driver === 'vfio_mdev' ? parent.driver : driver;
}

/** Another device of the same driver that is in use for that VM. */
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
  { openError }: OpenRequest,
  errno: number,
  { needKvm }: DriverKnowledge,
): boolean {
  return needKvm.has(driverOf(device)) && (errno === ESRCH || (errno === EINVAL && openError > 0));
}
