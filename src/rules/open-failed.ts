import type { Moment } from '../lifecycle/moment.ts';
import { type Device, type FdRequest, taskOf } from '../lifecycle/objects.ts';
import {
  EACCES,
  EBUSY,
  EEXIST,
  EFAULT,
  EINVAL,
  EIO,
  EMFILE,
  ENFILE,
  ENODEV,
  ENOMEM,
  EPERM,
  ESRCH,
  errnoName,
} from './errno.ts';
import { driverOf, refusalOf, vmAskedFor } from './refusal.ts';
import type { KernelVersion, Rule, RuleContext } from './rule.ts';
import { vmWords, who } from './words.ts';

export const openFailed: Rule = {
  id: 'open-failed',
  title: 'A device could not be opened',
  severity: 'warning',
  meaning:
    'A VMM asked for a device and was refused. The kernel log says nothing about it, and the VMM shows ' +
    'one errno that can mean several things. What it meant here follows from how far the open got, and ' +
    'from what else is known of the device.',
  advice: 'Follow the reason given in the explanation.',
  origin:
    'vfio_group_fops_open() and vfio_group_ioctl_get_device_fd() in drivers/vfio/group.c, ' +
    'vfio_group_use_container() in drivers/vfio/container.c, vfio_df_open() in drivers/vfio/vfio_main.c',
  evidence: 'Who asked, for which name in which group, how far the open got, and the errno.',
  provocation: {
    by: 'user',
    how:
      'A device is asked for in a group without container, or by a wrong name; a group is opened that ' +
      'is open already.',
  },
  basis: 'event',
  needs: ['vfio.device.open', 'vfio.group.set_kvm'],
  on: {
    'vfio.device.get_fd:end'(moment, context) {
      const { event, device, request } = moment;
      // Where a rule of its own tells the reason, it speaks.
      if (event.ret >= 0 || !request || refusalOf(moment, context)) return;
      context.report({
        device,
        task: request.task,
        says:
          `${who(request.task)} could not open ${request.name} in group ${request.groupId}: ` +
          `${errnoName(-event.ret)}, ${reason(moment, request, context)}.`,
      });
    },
    'vfio.group.open:end'({ event, group }, { host, report }) {
      const why = groupReason(-event.ret, host.kernel);
      if (!why) return;
      const [device] = group?.devices ?? [];
      const task = taskOf(event);
      report({
        device,
        task,
        stillOpen: true,
        says:
          `${who(task)} could not open VFIO group ${event.groupId}` +
          `${device ? `, the group of ${device.name}` : ''}: ${errnoName(-event.ret)}, ${why}.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'the group has no container yet',
        tell(story) {
          story.getFdFails(story.create(story.parent()), EINVAL);
        },
      },
      {
        title: 'the driver refuses',
        tell(story) {
          const device = story.create(story.parent());
          const opening = story.openBegins(device, { vm: story.createVm() });
          story.openEnds(opening, { error: EIO });
        },
      },
      {
        title: 'the container has no IOMMU set',
        tell(story) {
          const device = story.create(story.parent());
          const opening = story.openBegins(device, { vm: story.createVm() });
          story.openEnds(opening, { error: EINVAL });
        },
      },
      {
        title: 'the device is being removed',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          const removal = story.removeBegins(device);
          story.getFdFails(device, ENODEV);
          story.close(open);
          story.removeEnds(removal);
        },
      },
      {
        title: 'the process has too many files',
        tell(story) {
          story.getFdFails(story.create(story.parent()), EMFILE);
        },
      },
      {
        title: 'the group is open already',
        tell(story) {
          story.groupOpenFails(story.create(story.parent()), EBUSY);
        },
      },
    ],
    silent: [
      {
        title: 'an open that works',
        tell(story) {
          story.open(story.create(story.parent()), { vm: story.createVm() });
        },
      },
      {
        title: 'refused for want of a VM: that is open-without-kvm',
        also: ['open-without-kvm'],
        tell(story) {
          const parent = story.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          story.openEnds(story.openBegins(story.create(parent)), { error: ESRCH });
        },
      },
      {
        title: 'refused because the VM has another device of that driver: that is kvm-used-twice',
        also: ['kvm-used-twice'],
        tell(story) {
          const parent = story.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const vm = story.createVm();
          story.open(story.create(parent), { vm });
          story.openEnds(story.openBegins(story.create(parent), { vm }), { error: EEXIST });
        },
      },
      {
        title: 'refused because the VM is that of another process: that is foreign-opener',
        also: ['foreign-opener'],
        tell(story) {
          const parent = story.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const as = { pid: 601, comm: 'child' };
          const opening = story.openBegins(story.create(parent), { vm: story.createVm(), as });
          story.openEnds(opening, { error: ESRCH });
        },
      },
    ],
  },
};

/** What an errno means where the open stopped: before it reached the device, in it, or behind it. */
function reason(moment: Moment, request: FdRequest, context: RuleContext): string {
  const { event, device } = moment;
  const errno = -event.ret;
  if (request.openError) return reasonInOpen(errno, request, device, context);
  if (errno === EMFILE) return 'because the process has too many open files';
  if (errno === ENFILE) return 'because the host has too many open files';
  if (errno === ENOMEM) return 'because the kernel has no memory left';
  if (errno === EFAULT) return 'because the name passed to the kernel was not readable';
  if (errno === EACCES) return 'because a PCI virtual function needs the VF token of its PF';
  if (errno === EPERM) return NEEDS_RAW_IO;
  if (errno === ENODEV) return whyNotFound(request, device);
  const isSilent = context.host.kernel[0] < 6;
  if (errno !== EINVAL) {
    return isSilent && device
      ? reasonOfDriver(errno, request, device, context)
      : 'for a reason that the kernel does not tell';
  }
  return isSilent
    ? `${NO_CONTAINER}, or because a device of the group is bound to a driver of the host`
    : NO_CONTAINER;
}

const NO_CONTAINER = 'because the group has no container, or the container has no IOMMU set';
const NEEDS_RAW_IO = 'because a device without IOMMU may only be opened with CAP_SYS_RAWIO';

/** vfio_df_open() with the driver's open_device() in it; until 6.5 the container is checked there, too. */
function reasonInOpen(
  errno: number,
  request: FdRequest,
  device: Device | undefined,
  context: RuleContext,
): string {
  const [major, minor] = context.host.kernel;
  const driver = device ? driverOf(device) : 'unknown';
  switch (errno) {
    case ENODEV:
      return `because the module of its driver (${driver}) is being unloaded, or by that driver`;
    case EPERM:
      return `${NEEDS_RAW_IO}, or by its driver (${driver})`;
    case EINVAL: {
      const container =
        major === 6 && minor < 6 ? NO_CONTAINER : 'because the container has no IOMMU set';
      return `${container}, or returned by the open of its driver (${driver})`;
    }
    default:
      return reasonOfDriver(errno, request, device, context);
  }
}

function reasonOfDriver(
  errno: number,
  request: FdRequest,
  device: Device | undefined,
  { world, drivers }: RuleContext,
): string {
  const driver = device ? driverOf(device) : 'unknown';
  const vm = vmAskedFor(request, world.groups.get(request.groupId)?.vm);
  if (errno === ESRCH && vm && drivers.needKvm.has(driver)) {
    return (
      `returned by the open of its driver (${driver}): the process is not the one whose memory ` +
      `${vmWords(vm)} uses, or that VM is on its way out`
    );
  }
  return `returned by the open of its driver (${driver}) or of its IOMMU`;
}

function whyNotFound({ groupId }: FdRequest, device: Device | undefined): string {
  if (device?.state === 'removing') {
    return `because it is being removed by ${who(device.remover)}`;
  }
  if (device && device.groupId >= 0 && device.groupId !== groupId) {
    return `because it is in group ${device.groupId}`;
  }
  return 'because no device of that name is in this group, or it is being removed';
}

/** @returns undefined for what says nothing about the group */
function groupReason(errno: number, [major]: KernelVersion): string | undefined {
  switch (errno) {
    case EBUSY:
      return (
        'because it is already open. Only one process at a time can have a group open' +
        (major < 6 ? ', and none while a device file keeps its container' : '')
      );
    case ENODEV:
      return 'because it has no device any more';
    case EPERM:
      return NEEDS_RAW_IO;
    default:
      return undefined;
  }
}
