import { type FdRequest, taskOf } from '../lifecycle/objects.ts';
import { EBUSY, EINVAL, ENODEV, errnoName } from './errno.ts';
import type { Rule } from './rule.ts';
import { who } from './words.ts';

export const openFailed: Rule = {
  id: 'open-failed',
  title: 'A device could not be opened',
  severity: 'warning',
  meaning:
    'A VMM asked for a device and was refused. The kernel log says nothing about it, and the VMM shows ' +
    'one errno that can mean several things. What it meant here follows from how far the open got.',
  advice: 'Follow the reason given in the explanation.',
  origin: 'vfio_group_fops_open() and vfio_group_ioctl_get_device_fd() in drivers/vfio/group.c',
  basis: 'event',
  needs: ['vfio.device.open'],
  on: {
    'vfio.device.get_fd:end'({ event, device, request }, { report }) {
      if (event.ret >= 0 || !request) return;
      report({
        device,
        task: request.task,
        says:
          `${who(request.task)} could not open ${request.name} in group ${request.groupId}: ` +
          `${errnoName(-event.ret)}, ${reason(request, -event.ret, device?.driver)}.`,
      });
    },
    'vfio.group.open:end'({ event, group }, { report }) {
      if (event.ret !== -EBUSY) return;
      const [device] = group?.devices ?? [];
      const task = taskOf(event);
      report({
        device,
        task,
        says:
          `${who(task)} could not open VFIO group ${event.groupId}` +
          `${device ? `, the group of ${device.name}` : ''}: EBUSY, because it is already open. ` +
          'Only one process at a time can have a group open.',
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
          story.openEnds(opening, { error: 5 });
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
    ],
  },
};

/** What an errno means at the place where the open stopped (group.c, vfio_main.c in 6.12). */
function reason(request: FdRequest, errno: number, driver = 'unknown'): string {
  if (request.openError) return `returned by the open of its driver (${driver}) or of its IOMMU`;
  switch (errno) {
    case ENODEV:
      return 'because no device of that name is in this group, or it is being removed';
    case EINVAL:
      return 'because the group has no container, or the container has no IOMMU set';
    case 1:
      return 'because a device without IOMMU may only be opened with CAP_SYS_RAWIO';
    case 24:
      return 'because the process has too many open files';
    case 14:
      return 'because the name passed to the kernel was not readable';
    default:
      return 'for a reason that the kernel does not tell';
  }
}
