import { reportDetached } from '../engine/detached-group.ts';
import { EBUSY } from '../engine/errno.ts';
import type { Rule } from '../engine/rule.ts';
import { closeGroup, unsetContainer } from '../scenario/vfio.ts';

export const containerDetachedWhileOpen: Rule = {
  id: 'container-detached-while-open',
  title: 'A group left its container while a device of it was open',
  severity: 'critical',
  description:
    'The container holds the IOMMU mappings under which the devices of a group do DMA. The ' +
    'group was taken out of it with a device still open: the device keeps running under ' +
    'mappings that are gone, or under those of the host. The kernel refuses that with EBUSY as ' +
    "long as its count of the container's users is right.",
  remediation:
    'Stop the VM that the message names at once, and do not trust the memory of the host: DMA ' +
    'may have gone anywhere. Report it with the evidence.',
  references:
    'vfio_group_detach_container() in drivers/vfio/container.c, which warns when the container has ' +
    'other users than the group itself',
  evidence: 'Who has the device open, and for which VM.',
  provocation: {
    by: 'nothing',
    how: 'The kernel counts the users of a container under the lock of the group, and refuses.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close', 'vfio.group.open', 'vfio.group.close'],
  needsStep: ['vfio.group.detach'],
  on: {
    'vfio.group.detach:begin'(transition, context) {
      // group-closed-with-open-device reports a group that leaves it because its file is closed.
      if (!transition.group?.closedAt)
        reportDetached(transition, context, 'was taken out of its container');
    },
  },
  examples: {
    fires: [
      {
        title: 'a group is detached while its device is open',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          unsetContainer(scenario, device);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the last device is closed first',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.close(scenario.open(device, { vm: scenario.createVm() }));
          unsetContainer(scenario, device);
        },
      },
      {
        title: 'the kernel refuses: that is unset-container-busy',
        also: ['unset-container-busy'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          unsetContainer(scenario, device, { error: EBUSY });
        },
      },
      {
        title: 'a device of another group stays open',
        run(scenario) {
          const parent = scenario.parent();
          const [first, second] = [scenario.create(parent), scenario.create(parent)];
          scenario.open(first, { vm: scenario.createVm() });
          scenario.close(scenario.open(second, { vm: scenario.createVm() }));
          unsetContainer(scenario, second);
        },
      },
      {
        title: 'the last close has not returned yet',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          scenario.closeBegins(open);
          unsetContainer(scenario, device);
          scenario.closeEnds(open);
        },
      },
      {
        title: 'closed together with the group: that is group-closed-with-open-device',
        also: ['group-closed-with-open-device'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          closeGroup(scenario, device, { container: true });
        },
      },
    ],
  },
};
