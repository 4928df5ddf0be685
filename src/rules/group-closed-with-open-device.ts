import { reportDetached } from './container-detached-while-open.ts';
import type { Rule } from './rule.ts';
import { closeGroup, openGroup, unsetContainer } from './story-vfio.ts';

export const groupClosedWithOpenDevice: Rule = {
  id: 'group-closed-with-open-device',
  title: 'A group was closed while a device of it was open',
  severity: 'critical',
  meaning:
    'The last descriptor of /dev/vfio/GROUP is gone, and its container with it, although a device of ' +
    'the group is still open. Every device file holds the file of its group, so this cannot happen ' +
    'unless somebody put that file once too often. The device runs on without the mappings for its ' +
    'DMA, and what it finds of its group may be freed memory.',
  advice:
    'Stop the VM that is named here at once, and do not trust the memory of the host: DMA may have ' +
    'gone anywhere. Report it with the evidence.',
  origin:
    'vfio_group_fops_release() in drivers/vfio/group.c, which relies on device files holding the file ' +
    'of their group',
  evidence: 'Who closed the group, who has the device open, and for which VM.',
  kernels: {
    from: [6, 1],
    because: 'a group may be closed before its devices, which keep its container themselves',
  },
  provocation: {
    by: 'nothing',
    how: 'Every open device file holds the file of its group, so that cannot be closed for good.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close', 'vfio.group.open', 'vfio.group.close'],
  needsStep: ['vfio.group.detach'],
  on: {
    // Not when it is closed: with iommufd in place of a container no device holds its group's file.
    'vfio.group.detach:begin'(moment, context) {
      if (moment.group?.closedAt) reportDetached(moment, context, 'was closed');
    },
  },
  examples: {
    fires: [
      {
        title: 'the file of a group is put while its device is open',
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          closeGroup(story, device, { container: true });
        },
      },
    ],
    silent: [
      {
        title: 'the device is closed first',
        tell(story) {
          const device = story.create(story.parent());
          story.close(story.open(device, { vm: story.createVm() }));
          closeGroup(story, device, { container: true });
        },
      },
      {
        title: 'the group uses iommufd: its devices do not need its file',
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          closeGroup(story, device, { container: false });
        },
      },
      {
        title: 'the last close of the device lets go of the group and is on its way back',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          story.closeBegins(open);
          closeGroup(story, device, { container: true });
          story.closeEnds(open);
        },
      },
      {
        title: 'opened again, and then detached: that is container-detached-while-open',
        also: ['container-detached-while-open'],
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.close(story.open(device, { vm }));
          closeGroup(story, device, { container: true });
          openGroup(story, device);
          story.open(device, { vm });
          unsetContainer(story, device);
        },
      },
    ],
  },
};
