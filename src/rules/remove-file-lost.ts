import { EAGAIN, ENODEV, errnoName } from '../engine/errno.ts';
import type { Rule } from '../engine/rule.ts';
import { deviceWords, who } from '../engine/words.ts';

export const removeFileLost: Rule = {
  id: 'remove-file-lost',
  title: 'A device can no longer be removed',
  severity: 'error',
  description:
    'A write to the `remove` file deletes that file first, and only then tries to remove the ' +
    'device. When that fails, the file is not restored: the device works, but nobody can ' +
    'remove it until its parent is unregistered (driver unbound, module unloaded, reboot).',
  remediation:
    'Plan to unbind the parent from its driver when its other devices can be stopped. Until ' +
    'then the device and its instance of the parent stay in use. Keep tools from removing ' +
    'devices that are still being created.',
  references:
    'vfio/mdev: Improve the create/remove sequence, its issue 3 (Parav Pandit, 2019); remove_store() ' +
    'in drivers/vfio/mdev/mdev_sysfs.c',
  evidence: 'The attempt that deleted the file: who made it, when, and what it returned.',
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
      // Another process is removing it after all, or its parent is being unregistered.
      if (state === 'removing' || device.parent?.state === 'unregistering') continue;
      report({
        device,
        task: device.remover,
        ongoing: true,
        message:
          `The removal of ${deviceWords(device)} by ${who(device.remover)} failed with ` +
          `${errnoName(removeError)} and deleted its remove file. The device still exists and cannot ` +
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
        run(scenario) {
          const creation = scenario.createBegins(scenario.parent());
          const removal = scenario.removeBegins(creation.device, {
            as: { pid: 700, comm: 'bash' },
            idle: true,
          });
          scenario.removeEnds(removal, { error: EAGAIN });
          scenario.createEnds(creation);
          scenario.wait(3);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the device was removed within the grace time',
        also: ['remove-races-parent-unregister'],
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const removal = scenario.removeBegins(device, {
            as: { pid: 700, comm: 'bash' },
            idle: true,
          });
          const unregister = scenario.parentUnregisterBegins(parent);
          scenario.removeEnds(removal, { error: ENODEV });
          scenario.childRemoved(unregister, device);
          scenario.parentUnregisterEnds(unregister);
          scenario.wait(3);
        },
      },
      {
        title: 'the second of two removers failed, the first is still waiting',
        also: ['remove-failed'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          const first = scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          const second = scenario.removeBegins(device, {
            as: { pid: 701, comm: 'bash' },
            idle: true,
          });
          scenario.removeEnds(second, { error: EAGAIN });
          scenario.wait(3);
          scenario.close(open);
          scenario.removeEnds(first);
        },
      },
    ],
  },
};
