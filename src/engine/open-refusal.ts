/** Why the kernel refused to open a device: the errno together with how far the open got. */
import type { Device, OpenRequest } from '../lifecycle/objects.ts';
import { EACCES, EFAULT, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EPERM, ESRCH } from './errno.ts';
import { driverOf, vmAskedFor } from './refusal.ts';
import type { ObservedTransition, RuleContext } from './rule.ts';
import { inParens, vmWords, who } from './words.ts';

/** What an errno means depends on how far the open got: before the device, in it, or after it. */
export function whyRefused(
  transition: ObservedTransition,
  request: OpenRequest,
  context: RuleContext,
): string {
  const { event, device } = transition;
  const errno = -event.ret;
  if (request.openError) return reasonInOpen(errno, request, device, context);
  if (errno === EMFILE) return 'because the process has too many open files';
  if (errno === ENFILE) return 'because the host has too many open files';
  if (errno === ENOMEM) return 'because the kernel has no memory left';
  if (errno === EFAULT) return 'because the name passed to the kernel was not readable';
  const { opensAreOneFunction, containerIsCheckedAtOpen } = context.host.traits;
  // No event shows how far the open got.
  const hasNoEvent = !opensAreOneFunction && !containerIsCheckedAtOpen;
  if (errno === EACCES) return `${hasNoEvent ? 'probably ' : ''}${reasonOfToken(request)}`;
  if (errno === EPERM) return NEEDS_RAW_IO;
  if (errno === ENODEV) return whyNotFound(request, device);
  if (errno === EINVAL && request.hasOptions && device?.bus === 'pci') {
    return `${BAD_OPTION}, or ${NO_CONTAINER}`;
  }
  if (errno !== EINVAL) {
    return hasNoEvent && device
      ? reasonOfDriver(errno, request, device, context)
      : 'for a reason that the kernel does not report';
  }
  // Whether a driver of the host uses the group is known only on the running host, of groups of an IOMMU.
  const isUnsure = !device?.isMdev && context.host.groupMembers?.(event.groupId) === undefined;
  return isUnsure
    ? `${NO_CONTAINER}, or because a device of the group is bound to a driver of the host, which is not known here`
    : NO_CONTAINER;
}

const NO_CONTAINER = 'because the group has no container, or the container has no IOMMU set';
const BAD_OPTION =
  'because the VF token behind the name is malformed, or is not wanted (the physical function is ' +
  'not bound to vfio-pci, or the device has no virtual functions), or is not the only option there';
export const NEEDS_RAW_IO = 'because a device without IOMMU may only be opened with CAP_SYS_RAWIO';

/** vfio_pci_validate_vf_token(), which alone returns EACCES. Whether a token was passed is known, not which. */
function reasonOfToken({ hasOptions }: OpenRequest): string {
  return hasOptions
    ? 'because the VF token that it passed is wrong: its physical function has another one'
    : 'because it passed no VF token, and this device requires the one of its physical function';
}

/** vfio_df_open() with the driver's open_device() in it, or a check of the container and that. */
function reasonInOpen(
  errno: number,
  request: OpenRequest,
  device: Device | undefined,
  context: RuleContext,
): string {
  const driver = device ? driverOf(device) : '';
  switch (errno) {
    case ENODEV:
      return `because the module of its driver${inParens(driver)} is being unloaded, or by that driver`;
    case EPERM:
      return `${NEEDS_RAW_IO}, or by its driver${inParens(driver)}`;
    case EINVAL: {
      const { containerIsCheckedAtOpen } = context.host.traits;
      const container = containerIsCheckedAtOpen
        ? NO_CONTAINER
        : 'because the container has no IOMMU set';
      return `${container}, or returned by the open of its driver${inParens(driver)}`;
    }
    default:
      return reasonOfDriver(errno, request, device, context);
  }
}

function reasonOfDriver(
  errno: number,
  request: OpenRequest,
  device: Device | undefined,
  { world, drivers }: RuleContext,
): string {
  const driver = device ? driverOf(device) : '';
  const vm = vmAskedFor(request, world.groups.get(request.groupId)?.vm);
  if (errno === ESRCH && vm && drivers.needKvm.has(driver)) {
    return (
      `returned by the open of its driver${inParens(driver)}: the process is not the one whose memory ` +
      `${vmWords(vm)} uses, or that VM is being destroyed`
    );
  }
  // What was set before the agent started is not known.
  const mayHaveVm = vm !== undefined || !device || world.qualityOf(device) !== 'observed';
  const noVm = mayHaveVm ? '' : '; no VM was set for its group, and some drivers refuse that';
  const by = `returned by the open of its driver${inParens(driver)}`;
  // An mdev has no IOMMU of its own.
  return `${by}${device?.isMdev ? '' : ' or of its IOMMU'}${noVm}`;
}

function whyNotFound({ groupId, hasOptions }: OpenRequest, device: Device | undefined): string {
  if (device?.isUnfreed) return 'because it has been removed, although it is not freed';
  if (device?.state === 'removing') {
    return `because it is being removed by ${who(device.remover)}`;
  }
  if (device && device.groupId >= 0 && device.groupId !== groupId) {
    return `because it is in group ${device.groupId}`;
  }
  if (hasOptions && device && device.bus !== 'pci') {
    return (
      'because something follows its name, such as a VF token, which only drivers of PCI ' +
      'devices accept, or because it is being removed'
    );
  }
  return 'because no device of that name is in this group, or it is being removed';
}
