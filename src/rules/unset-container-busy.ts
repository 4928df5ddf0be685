import type { Device } from '../lifecycle/objects.ts';
import { taskOf } from '../lifecycle/objects.ts';
import { EBUSY, EINVAL } from './errno.ts';
import type { Rule } from './rule.ts';
import { unsetContainer, whileLooking } from './story-vfio.ts';
import { deviceWords, openers, who } from './words.ts';

export const unsetContainerBusy: Rule = {
  id: 'unset-container-busy',
  title: 'A group could not leave its container because it is in use',
  severity: 'info',
  meaning:
    'A process asked for an IOMMU group to be taken out of its container (VFIO_GROUP_UNSET_CONTAINER) ' +
    'while a device of the group was open, and the kernel refused with EBUSY. That is the kernel ' +
    'protecting the DMA of whoever has the device open. It tells of a VMM that takes itself down in ' +
    'the wrong order, or of two processes that share a group without knowing it.',
  advice:
    'Close the devices of the group first. If another process than the one that asked has them open, ' +
    'find out why both believe that the group is theirs.',
  origin:
    'vfio_group_ioctl_unset_container() in drivers/vfio/group.c; Documentation/driver-api/vfio.rst, ' +
    'on groups and containers',
  evidence: 'Who asked, and who has a device of the group open.',
  provocation: {
    by: 'user',
    how: 'A process that has a device open asks for its group to leave the container.',
  },
  basis: 'event',
  needs: ['vfio.device.open', 'vfio.device.close'],
  on: {
    'vfio.group.unset_container:end'({ event }, { world, report }) {
      if (event.ret !== -EBUSY) return;
      const task = taskOf(event);
      const asked = `${who(task)} asked for group ${event.groupId} to leave its container`;
      const device = openIn(world.groups.get(event.groupId)?.devices ?? []);
      report({
        device,
        vm: device?.vm,
        task,
        stillOpen: true,
        says: device
          ? `${asked}, and was refused: ${deviceWords(device)} is held open by ${openers(device)}.`
          : `${asked}, and was refused: the group is used by somebody who was not seen.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'a VMM that closes the device late, while the agent looks at all files',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          whileLooking(story, () => {
            unsetContainer(story, device, { error: EBUSY });
            story.close(open);
          });
          story.wait(1);
        },
      },
      {
        title: 'a VMM that asks before it closes the device',
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          unsetContainer(story, device, { error: EBUSY });
        },
      },
    ],
    silent: [
      {
        title: 'the device is closed first',
        tell(story) {
          const device = story.create(story.parent());
          story.close(story.open(device, { vm: story.createVm() }));
          unsetContainer(story, device);
        },
      },
      {
        title: 'the agent, which looks at all files, holds the one that was just closed',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          whileLooking(story, (agent) => {
            unsetContainer(story, device, { error: EBUSY });
            story.close({ ...open, task: agent });
          });
        },
      },
      {
        title: 'refused because the group is in no container',
        tell(story) {
          unsetContainer(story, story.create(story.parent()), { error: EINVAL });
        },
      },
      {
        title: 'the device of another group is open',
        tell(story) {
          const parent = story.parent();
          const [open, closed] = [story.create(parent), story.create(parent)];
          story.open(open, { vm: story.createVm() });
          unsetContainer(story, closed);
        },
      },
    ],
  },
};

function openIn(devices: Iterable<Device>): Device | undefined {
  for (const device of devices) if (device.openCount > 0) return device;
  return undefined;
}
