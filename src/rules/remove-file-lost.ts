import { EAGAIN, ENODEV, errnoName } from './errno.ts';
import type { Rule } from './rule.ts';
import { deviceWords, who } from './words.ts';

export const removeFileLost: Rule = {
  id: 'remove-file-lost',
  title: 'A device can no longer be removed',
  severity: 'error',
  meaning:
    'Writing to the `remove` file deletes that file first, and only then tries to remove the device. ' +
    'When that fails, the file is not put back: the device works, but nobody can remove it until its ' +
    'parent is unregistered (driver unbound, module unloaded, reboot).',
  advice:
    'Plan to unbind the parent from its driver when its other devices can spare it. Until then the ' +
    'device and its share of the parent stay in use. Keep tools from removing devices that are still ' +
    'being created.',
  origin:
    'vfio/mdev: Improve the create/remove sequence, its issue 3 (Parav Pandit, 2019); remove_store() ' +
    'in drivers/vfio/mdev/mdev_sysfs.c',
  evidence: 'The attempt that took the file: who made it, when, and what it returned.',
  provocation: {
    by: 'user',
    how: 'A device is removed before its creation has finished, and then left alone.',
  },
  basis: 'event',
  needs: ['mdev.remove', 'mdev.unbind', 'mdev.release', 'mdev.parent.unregister'],
  onClock({ world, now, thresholds, report }) {
    for (const device of world.devices) {
      const { removeError, removeFailedAt, state } = device;
      if (removeError !== EAGAIN && removeError !== ENODEV) continue;
      if (now - removeFailedAt < thresholds.grace) continue;
      // Somebody else is removing it after all, or its parent is.
      if (state === 'removing' || device.parent?.state === 'unregistering') continue;
      report({
        device,
        task: device.remover,
        lasting: true,
        says:
          `The removal of ${deviceWords(device)} by ${who(device.remover)} failed with ` +
          `${errnoName(removeError)} and took its remove file with it. The device lives on and cannot ` +
          `be removed until ${device.parentName} is unregistered.`,
      });
    }
  },
  on: {
    'mdev.release:begin'({ device }, { resolve }) {
      if (device) resolve(device);
    },
  },
  examples: {
    fires: [
      {
        title: 'still there after a remove that came too early',
        also: ['remove-before-create-done'],
        tell(story) {
          const creation = story.createBegins(story.parent());
          const removal = story.removeBegins(creation.device, {
            as: { pid: 700, comm: 'bash' },
            idle: true,
          });
          story.removeEnds(removal, { error: EAGAIN });
          story.createEnds(creation);
          story.wait(3);
        },
      },
    ],
    silent: [
      {
        title: 'the device went away within the grace time',
        also: ['remove-races-parent-unregister'],
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const removal = story.removeBegins(device, {
            as: { pid: 700, comm: 'bash' },
            idle: true,
          });
          const unregister = story.parentUnregisterBegins(parent);
          story.removeEnds(removal, { error: ENODEV });
          story.childRemoved(unregister, device);
          story.parentUnregisterEnds(unregister);
          story.wait(3);
        },
      },
      {
        title: 'the second of two removers failed, the first is still waiting',
        also: ['remove-failed'],
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          const first = story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          const second = story.removeBegins(device, { as: { pid: 701, comm: 'bash' }, idle: true });
          story.removeEnds(second, { error: EAGAIN });
          story.wait(3);
          story.close(open);
          story.removeEnds(first);
        },
      },
    ],
  },
};
