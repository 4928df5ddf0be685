import type { Device } from '../lifecycle/objects.ts';
import { type Rule, SECOND } from './rule.ts';
import { createdByAnother, deviceWords, openers, seconds, who } from './words.ts';

/** A wait that long will hardly end by itself. */
const LONG = 60 * SECOND;

export const removeStall: Rule = {
  id: 'remove-stall',
  title: 'A removal waits for a device that is still open',
  severity: 'warning',
  severityVaries: 'An error once it has waited for a minute: it will hardly end by itself.',
  meaning:
    'Taking a device away waits until everybody has closed it. Meanwhile the remover is blocked (after ' +
    'one signal even uninterruptibly), the device can no longer be opened, its UUID is taken, and its ' +
    'parent cannot be unregistered. Most mdev drivers do not ask the VMM to let go, so this lasts ' +
    'until somebody stops the VM.',
  advice:
    'Stop the process that has the device open, or unplug the device from its VM. The removal then ' +
    'finishes by itself; do not kill the remover.',
  origin:
    'vfio/mdev: Improve the create/remove sequence (Parav Pandit and Pierre Morel, 2019); ' +
    'vfio_unregister_group_dev() in drivers/vfio/vfio_main.c',
  evidence:
    'Who waits, since when and where in the kernel, who has the device open and for which VM, and who ' +
    'created the device, if that was somebody else.',
  provocation: {
    by: 'user',
    how: 'A device is removed, or unbound from its driver, while a process has it open.',
  },
  basis: 'state',
  on: {
    'vfio.unregister:end'({ device }, { resolve }) {
      if (device) resolve(device);
    },
  },
  onClock({ world, host, now, thresholds, report }) {
    for (const device of world.devices) {
      const waited = waitingFor(device, now);
      if (waited < thresholds.removeStall) continue;
      report({
        device,
        vm: device.vm,
        task: device.remover,
        blocked: device.remover,
        lasting: true,
        severity: waited >= LONG ? 'error' : 'warning',
        says:
          `The removal of ${deviceWords(device)} by ${who(device.remover)} has been waiting for ` +
          `${seconds(waited)}: ${reason(device)}.${createdByAnother(device, host)}`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'removed while a VM uses it',
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          story.wait(11);
        },
      },
      {
        title: 'a passed-through PCI device unbound while open',
        tell(story) {
          const device = story.bindPci('0000:01:00.0');
          story.open(device, { vm: story.createVm() });
          story.unbindPciBegins(device);
          story.wait(11);
        },
      },
      {
        title: 'nobody has it open, but its group is in use',
        tell(story) {
          const device = story.create(story.parent());
          story.close(story.open(device, { vm: story.createVm() }));
          story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          story.wait(11);
        },
      },
    ],
    silent: [
      {
        title: 'the opener lets go in time',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          const removal = story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          story.wait(5);
          story.close(open);
          story.removeEnds(removal);
          story.wait(20);
        },
      },
    ],
  },
};

/** ns since its removal began to wait, 0 when it does not. */
function waitingFor(device: Device, now: number): number {
  const waits = device.unregisterBegan > 0 && device.unregisteredAt === 0;
  return waits ? now - device.unregisterBegan : 0;
}

/** On 5.10 the last device to leave a group waits until that has no container, too: container_q. */
function reason(device: Device): string {
  const isOpen = device.openCount > 0 || device.opens.length > 0;
  return isOpen
    ? `it is still held open by ${openers(device)}`
    : 'nobody has it open, so it waits for its group, which a process still has in a container';
}
