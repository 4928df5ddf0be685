import { reportDetached } from '../engine/detached-group.ts';
import type { Rule } from '../engine/rule.ts';
import { closeGroup, openGroup, unsetContainer } from '../scenario/vfio.ts';

export const groupClosedWithOpenDevice: Rule = {
  id: 'group-closed-with-open-device',
  title: 'A group was closed while a device of it was open',
  severity: 'critical',
  description:
    'The last descriptor of /dev/vfio/GROUP is gone, and its container with it, although a ' +
    'device of the group is still open. Every device file holds the file of its group, so this ' +
    'cannot happen unless somebody put that file once too often. The device keeps running ' +
    'without the mappings for its DMA, and what it refers to of its group may be freed memory.',
  remediation:
    'Stop the VM that the message names at once, and do not trust the memory of the host: DMA ' +
    'may have gone anywhere. Report it with the evidence.',
  references:
    'vfio_group_fops_release() in drivers/vfio/group.c, which relies on device files holding the file ' +
    'of their group',
  evidence: 'Who closed the group, who has the device open, and for which VM.',
  kernels: {
    where: { deviceFileKeepsGroup: true },
    because: 'a group may be closed before its devices, which keep its container themselves',
  },
  provocation: {
    by: 'nothing',
    how:
      'Every open device file holds the file of its group, so the group cannot be closed ' +
      'before it.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close', 'vfio.group.open', 'vfio.group.close'],
  needsStep: ['vfio.group.detach'],
  on: {
    // Not at the close itself: with iommufd instead of a container no device holds its group's file.
    'vfio.group.detach:begin'(transition, context) {
      if (transition.group?.closedAt) reportDetached(transition, context, 'was closed');
    },
  },
  examples: {
    fires: [
      {
        title: 'the file of a group is put while its device is open',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          closeGroup(scenario, device, { container: true });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the device is closed first',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.close(scenario.open(device, { vm: scenario.createVm() }));
          closeGroup(scenario, device, { container: true });
        },
      },
      {
        title: 'the group uses iommufd: its devices do not need its file',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          closeGroup(scenario, device, { container: false });
        },
      },
      {
        title: 'the last close of the device releases the group and has not returned yet',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          scenario.closeBegins(open);
          closeGroup(scenario, device, { container: true });
          scenario.closeEnds(open);
        },
      },
      {
        title: 'opened again, and then detached: that is container-detached-while-open',
        also: ['container-detached-while-open'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.close(scenario.open(device, { vm }));
          closeGroup(scenario, device, { container: true });
          openGroup(scenario, device);
          scenario.open(device, { vm });
          unsetContainer(scenario, device);
        },
      },
    ],
  },
};
