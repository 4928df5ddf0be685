/** Why a device cdev could not be bound to an iommufd: the errno together with how far the bind got. */

import type { Cdev } from '../lifecycle/objects.ts';
import type { BindStep } from '../scenario/types.ts';
import { boundCdev } from './cdev-bind.ts';
import {
  E2BIG,
  EACCES,
  EBADF,
  EBADFD,
  EBUSY,
  EEXIST,
  EFAULT,
  EINVAL,
  ENODEV,
  ENOMEM,
  EPERM,
  ESRCH,
  errnoName,
} from './errno.ts';
import { driverOf } from './refusal.ts';
import type { ErrnoMeaning, ObservedTransition, RuleContext } from './rule.ts';
import { unviable, unviableWords } from './viability.ts';
import { inParens, who } from './words.ts';

/** The steps of vfio_df_ioctl_bind_iommufd() in drivers/vfio/device_cdev.c, in their order, as the place of a refusal. */
const STEPS: Readonly<Record<BindStep, string>> = {
  request: 'at the request, before anything else',
  group: 'at the group of the device',
  descriptor: 'at the file and what was passed, before the open',
  device: 'in the open of the device',
  opened: 'after the open, when it returned the id',
};

interface Cause {
  readonly at: BindStep;
  readonly errno: number;
  /** A clause. */
  readonly cause: string;
  /** Only devices with an IOMMU of their own: an mdev is bound without asking one. */
  readonly hasIommu?: true;
  /** Its driver may return the same. */
  readonly orDriver?: true;
  /** The clause with what the events show; undefined if they show that it is not the cause. */
  readonly shown?: (cdev: Cdev, context: RuleContext) => string | undefined;
}

/** The first that applies is reported. vfio_df_open() calls iommufd_device_bind() and then the driver. */
const CAUSES: readonly Cause[] = [
  {
    ...{ at: 'request', errno: EINVAL },
    cause: 'the request itself is malformed, or has flags that this kernel does not know',
  },
  { at: 'request', errno: E2BIG, cause: 'the request has parts that this kernel does not know' },
  {
    ...{ at: 'request', errno: EFAULT },
    cause: 'memory that it passed to the kernel was not accessible',
  },
  {
    ...{ at: 'descriptor', errno: EINVAL },
    cause: 'this file is bound already',
    shown: ({ isBound, binder }) =>
      isBound ? `this file is bound already, by ${who(binder)}` : undefined,
  },
  {
    ...{ at: 'descriptor', errno: EINVAL },
    cause: 'it passed a VF token, which the device does not use',
  },
  {
    ...{ at: 'descriptor', errno: EACCES },
    cause: 'the VF token that it passed, or did not pass, is not that of the physical function',
  },
  {
    ...{ at: 'descriptor', errno: EBADF },
    cause: 'the process has no open descriptor of the number that it passed for the iommufd',
  },
  {
    ...{ at: 'descriptor', errno: EBADFD },
    cause: 'the descriptor that it passed for the iommufd is not one of /dev/iommu',
  },
  {
    ...{ at: 'descriptor', errno: EFAULT },
    cause: 'the memory that it passed for a VF token was not readable',
  },
  {
    ...{ at: 'device', errno: EINVAL },
    cause: 'another file of the device is bound, and only one can be',
    shown: (cdev) => {
      const other = boundCdev(cdev.device, cdev);
      return other
        ? `${who(other.binder)} has bound it by another file, and only one file of a device can be bound`
        : undefined;
    },
  },
  {
    ...{ at: 'device', errno: EINVAL, hasIommu: true, orDriver: true },
    cause: 'its IOMMU does not make its DMA coherent with the caches',
  },
  {
    ...{ at: 'device', errno: EPERM, hasIommu: true },
    cause: 'a device of its IOMMU group is bound to a driver of the host',
    shown: ({ device: { groupId } }, context) => {
      const why = unviable(groupId, context);
      return why
        ? `its group is in use otherwise: ${unviableWords(groupId, why).replace(/\.$/, '')}`
        : undefined;
    },
  },
  {
    ...{ at: 'device', errno: EPERM, hasIommu: true, orDriver: true },
    cause:
      'another iommufd or a driver of the host controls a device of its group, or because its interrupts ' +
      'are not isolated from those of other devices, which only the parameter allow_unsafe_interrupts of iommufd ' +
      'permits',
  },
  {
    ...{ at: 'device', errno: EBUSY, hasIommu: true, orDriver: true },
    cause: 'its group is attached to an address space of something else',
  },
  {
    ...{ at: 'device', errno: ENODEV, orDriver: true },
    cause: 'the module of its driver is being unloaded',
  },
  { at: 'device', errno: ENOMEM, orDriver: true, cause: 'the kernel has no memory left for it' },
  {
    ...{ at: 'opened', errno: EFAULT },
    cause:
      'the memory that it passed was not writable when the kernel returned the id, after the open; the device was ' +
      'closed again',
  },
];

/** Follows the errno. */
export function whyNotBound(
  { event, request }: ObservedTransition,
  cdev: Cdev,
  context: RuleContext,
): string {
  if (!request)
    return 'for a reason that is not known: how far it got was not observed, since its begin was not';
  const { device } = cdev;
  const driver = `its driver${inParens(driverOf(device))}`;
  const reached = request.hasBlockedGroup ? 'descriptor' : 'request';
  const opened = request.open?.openedAt ? 'opened' : reached;
  const step = request.openError ? 'device' : opened;
  for (const { at, errno, cause, hasIommu, orDriver, shown } of CAUSES) {
    if (at !== step || errno !== -event.ret || (hasIommu && device.isMdev)) continue;
    const clause = shown ? shown(cdev, context) : cause;
    if (clause !== undefined)
      return `because ${clause}${orDriver ? `, or returned by ${driver}` : ''}`;
  }
  if (step !== 'device') return 'for a reason that the kernel does not report';
  return `returned by ${driver}${device.isMdev ? '' : ' or by its IOMMU'}`;
}

/** What the page of the rule lists: also the refusals that other rules report. */
export const BIND_ERRNOS: readonly ErrnoMeaning[] = [
  ...CAUSES.filter(({ at }) => at === 'request').map(meaning),
  other('group', 'EBUSY', 'its group is open', 'cdev-group-conflict'),
  ...CAUSES.filter(({ at }) => at === 'descriptor').map(meaning),
  ...CAUSES.filter(({ at }) => at === 'device').map(meaning),
  other(
    'device',
    [ESRCH, EINVAL].map((errno) => errnoName(errno)).join(', '),
    'its driver needs a VM, and the cdev has none',
    'open-without-kvm',
  ),
  other(
    'device',
    errnoName(ESRCH),
    'its driver serves another process than that of the VM',
    'foreign-opener',
  ),
  other(
    'device',
    [EEXIST, EPERM].map((errno) => errnoName(errno)).join(', '),
    'its driver allows a VM one device',
    'kvm-used-twice',
  ),
  ...CAUSES.filter(({ at }) => at === 'opened').map(meaning),
  {
    errno: 'any other',
    where: STEPS.device,
    means: 'its driver, or the driver of its IOMMU, refused',
  },
];

function meaning({ at, errno, cause, hasIommu, orDriver }: Cause): ErrnoMeaning {
  const whose = hasIommu ? ' (not of mdevs)' : '';
  const driver = orDriver ? '; or its driver refused' : '';
  return { errno: errnoName(errno), where: STEPS[at], means: `${cause}${whose}${driver}` };
}

function other(at: BindStep, errno: string, means: string, rule: string): ErrnoMeaning {
  return { errno, where: STEPS[at], means: `${means}: \`${rule}\`` };
}
