import { EBUSY, EINVAL } from '../engine/errno.ts';
import type { Rule } from '../engine/rule.ts';
import { deviceWords, openWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import type { Device } from '../lifecycle/objects.ts';
import { duringSnapshot, unsetContainer } from '../scenario/vfio.ts';

export const unsetContainerBusy: Rule = {
  id: 'unset-container-busy',
  title: 'A group in use could not leave its container',
  severity: 'info',
  description:
    'A process tried to take an IOMMU group out of its container (VFIO_GROUP_UNSET_CONTAINER) ' +
    'while a device of the group was open, and the kernel refused with EBUSY, which protects ' +
    'the DMA of whoever has the device open. Either a VMM tears itself down in the wrong ' +
    'order, or two processes share a group without knowing it.',
  remediation:
    'Close the devices of the group first. If another process than the one that asked has them ' +
    'open, find out why both believe that the group is theirs.',
  references:
    'vfio_group_ioctl_unset_container() in drivers/vfio/group.c; Documentation/driver-api/vfio.rst, ' +
    'on groups and containers',
  evidence: 'Who asked, and who has a device of the group open.',
  occurrences: 'the group',
  provocation: {
    by: 'user',
    how: 'A process that has a device open takes its group out of the container.',
  },
  basis: 'event',
  needs: ['vfio.device.open', 'vfio.device.close'],
  on: {
    'vfio.group.unset_container:end'({ event }, { world, report }) {
      if (event.ret !== -EBUSY) return;
      const task = taskOf(event);
      const refused = `${who(task)} could not take group ${event.groupId} out of its container`;
      const device = openIn(world.groups.get(event.groupId)?.devices ?? []);
      report({
        device,
        vm: device?.vm,
        task,
        sameAs: `group ${event.groupId}`,
        stillOpen: true,
        message: device
          ? `${refused}: ${deviceWords(device)} is ${openWords(device)}.`
          : `${refused}: the group is used by a process that was not observed.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'a VMM that closes the device late, while the agent takes a host snapshot',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          duringSnapshot(scenario, () => {
            unsetContainer(scenario, device, { error: EBUSY });
            scenario.close(open);
          });
          scenario.wait(1);
        },
      },
      {
        title: 'a VMM that asks before it closes the device',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          unsetContainer(scenario, device, { error: EBUSY });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the device is closed first',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.close(scenario.open(device, { vm: scenario.createVm() }));
          unsetContainer(scenario, device);
        },
      },
      {
        title: 'the agent, which takes a host snapshot, holds the file that was just closed',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          duringSnapshot(scenario, (agent) => {
            unsetContainer(scenario, device, { error: EBUSY });
            scenario.close({ ...open, task: agent });
          });
        },
      },
      {
        title: 'refused because the group is in no container',
        run(scenario) {
          unsetContainer(scenario, scenario.create(scenario.parent()), { error: EINVAL });
        },
      },
      {
        title: 'the device of another group is open',
        run(scenario) {
          const parent = scenario.parent();
          const [open, closed] = [scenario.create(parent), scenario.create(parent)];
          scenario.open(open, { vm: scenario.createVm() });
          unsetContainer(scenario, closed);
        },
      },
    ],
  },
};

function openIn(devices: Iterable<Device>): Device | undefined {
  for (const device of devices) if (device.openCount > 0) return device;
  return undefined;
}
