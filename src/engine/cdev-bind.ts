/** Why a device cdev could not be bound to an iommufd: the errno together with how far the bind got. */

import type { Cdev, Device, Group } from '../lifecycle/objects.ts';
import {
  E2BIG,
  EACCES,
  EBADF,
  EBADFD,
  EBUSY,
  EFAULT,
  EINVAL,
  ENODEV,
  ENOMEM,
  EPERM,
} from './errno.ts';
import { driverOf } from './refusal.ts';
import type { Kernels, ObservedTransition, RuleContext } from './rule.ts';
import { unviable, unviableWords } from './viability.ts';
import { inParens, who } from './words.ts';

/** The kernels on which rules about cdevs hold. */
export const WITH_CDEVS: Kernels = {
  where: { devicesHaveCdevs: true },
  because: 'a device can be opened by its group alone',
};

/** Follows the errno; vfio_df_ioctl_bind_iommufd() in drivers/vfio/device_cdev.c. */
export function whyNotBound(
  transition: ObservedTransition,
  cdev: Cdev,
  context: RuleContext,
): string {
  const errno = -transition.event.ret;
  return transition.request?.openError
    ? reasonInOpen(errno, cdev, context)
    : reasonOfRequest(errno, cdev);
}

function reasonOfRequest(errno: number, { isBound, binder }: Cdev): string {
  switch (errno) {
    case EINVAL:
      return isBound
        ? `because this file is bound already, by ${who(binder)}`
        : 'because the request itself is malformed';
    case EBADF:
      return 'because the process has no open descriptor of the number that it passed for the iommufd';
    case EBADFD:
      return 'because the descriptor that it passed for the iommufd is not one of /dev/iommu';
    case EACCES:
      return 'because the VF token that it passed, or did not pass, is not that of the physical function';
    case E2BIG:
      return 'because the request has parts that this kernel does not know';
    case EFAULT:
      return 'because memory that it passed to the kernel was not accessible';
    default:
      return 'for a reason that the kernel does not report';
  }
}

/** vfio_df_open(), with iommufd_device_bind() and the driver's open_device() in it. */
function reasonInOpen(errno: number, cdev: Cdev, context: RuleContext): string {
  const { device } = cdev;
  const driver = `its driver${inParens(driverOf(device))}`;
  switch (errno) {
    case EINVAL: {
      const other = boundCdev(device, cdev);
      if (other) {
        return `because ${who(other.binder)} has bound it by another file, and only one file of a device can be bound`;
      }
      return `because its IOMMU does not make its DMA coherent with the caches, or returned by ${driver}`;
    }
    case EPERM: {
      const why = unviable(device.groupId, context);
      if (why)
        return `because its group is in use otherwise: ${unviableWords(device.groupId, why).replace(/\.$/, '')}`;
      return (
        'because another iommufd or a driver of the host controls a device of its group, or because its interrupts ' +
        'are not isolated from those of other devices, which only the parameter allow_unsafe_interrupts of iommufd ' +
        `permits, or returned by ${driver}`
      );
    }
    case EBUSY:
      return `because its group is attached to an address space of something else, or returned by ${driver}`;
    case ENODEV:
      return `because the module of ${driver} is being unloaded, or by that driver`;
    case ENOMEM:
      return 'because the kernel has no memory left for it';
    default:
      return `returned by ${driver}${device.isMdev ? '' : ' or by its IOMMU'}`;
  }
}

/** The cdev of the device that is bound, if it is another one. */
export function boundCdev({ cdevs }: Device, except?: Cdev): Cdev | undefined {
  return cdevs.find((one) => one !== except && one.isBound);
}

/** The device of a group that is bound by its cdev, so that the group cannot be opened. */
export function boundDeviceOf({ devices }: Pick<Group, 'devices'>): Device | undefined {
  return [...devices].find((device) => boundCdev(device) !== undefined);
}

/** "its cdev vfio3", or without a name that was not observed. */
export function cdevWords({ node }: Pick<Cdev, 'node'>): string {
  return node ? `its cdev ${node}` : 'its cdev';
}
