import type { Moment } from '../lifecycle/moment.ts';
import { EBUSY } from './errno.ts';
import type { Rule, RuleContext } from './rule.ts';
import { closeGroup, unsetContainer } from './story-vfio.ts';
import { deviceWords, openers } from './words.ts';

export const containerDetachedWhileOpen: Rule = {
  id: 'container-detached-while-open',
  title: 'A group left its container while a device of it was open',
  severity: 'critical',
  meaning:
    'The container holds the IOMMU mappings under which the devices of a group do DMA. The group was ' +
    'taken out of it with a device still open: the device keeps running under mappings that are gone, ' +
    'or under those of the host. The kernel refuses that with EBUSY as long as it counts the users of ' +
    'the container right.',
  advice:
    'Stop the VM that is named here at once, and do not trust the memory of the host: DMA may have ' +
    'gone anywhere. Report it with the evidence.',
  origin:
    'vfio_group_detach_container() in drivers/vfio/container.c, which warns when the container has ' +
    'other users than the group itself',
  evidence: 'Who has the device open, and for which VM.',
  kernels: {
    from: [6, 1],
    because: 'to leave a container is inlined into the request for it, which tells its answer only',
  },
  provocation: {
    by: 'nothing',
    how: 'The kernel counts the users of a container under the lock of the group, and refuses.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close', 'vfio.group.open', 'vfio.group.close'],
  needsStep: ['vfio.group.detach'],
  on: {
    'vfio.group.detach:begin'(moment, context) {
      // Together with its file is another case, which has a rule of its own.
      if (!moment.group?.closedAt)
        reportDetached(moment, context, 'was taken out of its container');
    },
  },
  examples: {
    fires: [
      {
        title: 'a group is let go of while its device is open',
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          unsetContainer(story, device);
        },
      },
    ],
    silent: [
      {
        title: 'the last device is closed first',
        tell(story) {
          const device = story.create(story.parent());
          story.close(story.open(device, { vm: story.createVm() }));
          unsetContainer(story, device);
        },
      },
      {
        title: 'the kernel refuses: that is unset-container-busy',
        also: ['unset-container-busy'],
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          unsetContainer(story, device, { error: EBUSY });
        },
      },
      {
        title: 'a device of another group stays open',
        tell(story) {
          const parent = story.parent();
          const [first, second] = [story.create(parent), story.create(parent)];
          story.open(first, { vm: story.createVm() });
          story.close(story.open(second, { vm: story.createVm() }));
          unsetContainer(story, second);
        },
      },
      {
        title: 'the last close is still on its way back',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          story.closeBegins(open);
          unsetContainer(story, device);
          story.closeEnds(open);
        },
      },
      {
        title: 'closed together with the group: that is group-closed-with-open-device',
        also: ['group-closed-with-open-device'],
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          closeGroup(story, device, { container: true });
        },
      },
    ],
  },
};

/** About each device of the group that is open for certain. */
export function reportDetached(
  { group, event }: Moment,
  { report }: RuleContext,
  how: string,
): void {
  for (const device of group?.devices ?? []) {
    if (!device.isOpen) continue;
    report({
      device,
      vm: device.vm,
      task: device.opens[0].task,
      says:
        `Group ${event.groupId} ${how} by ${event.comm()} (pid ${event.pid}) while ` +
        `${deviceWords(device)} was held open by ${openers(device)}.`,
    });
  }
}
