import { EAGAIN } from '../engine/errno.ts';
import type { Rule } from '../engine/rule.ts';
import { deviceWords, seconds, who } from '../engine/words.ts';

export const removeBeforeCreateDone: Rule = {
  id: 'remove-before-create-done',
  title: 'A device was removed before its creation had finished',
  severity: 'warning',
  description:
    'The `remove` file of an mdev appears in sysfs before its driver has set the device up. A ' +
    'process that writes to it in that window gets EAGAIN, and the file is gone afterwards: ' +
    "see remove-file-lost. The slower the driver's set-up, the wider the window.",
  remediation:
    'Make the tool that creates devices wait until the write to `create` has returned, or for ' +
    'the udev event, before it hands the device on.',
  references:
    'vfio/mdev: Improve the create/remove sequence (Parav Pandit, 2019); mdev_device_remove() returns ' +
    '-EAGAIN while mdev->active is false',
  evidence:
    'Who created and who removed the device, how far the creation was, and how long it had ' +
    'been running.',
  provocation: {
    by: 'user',
    how:
      'One thread writes a UUID to `create`, another tries to write to `remove` until it ' +
      'succeeds. On 5.10 the file is the last thing that a create makes, so the race is hardly ' +
      'ever won.',
  },
  basis: 'history',
  needs: ['mdev.create'],
  on: {
    'mdev.remove:end'({ event, device }, { report }) {
      if (event.ret !== -EAGAIN || device?.stateAtRemove !== 'creating') return;
      report({
        device,
        task: device.remover,
        message:
          `${who(device.remover)} tried to remove ${deviceWords(device)} ` +
          `${seconds(device.removeBegan - device.createBegan)} after ${who(device.creator)} had begun to ` +
          'create it, and before that had finished. The kernel refused with EAGAIN.',
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'the remove comes while the driver still probes',
        run(scenario) {
          const creation = scenario.createBegins(scenario.parent());
          const removal = scenario.removeBegins(creation.device, {
            as: { pid: 700, comm: 'bash' },
            idle: true,
          });
          scenario.removeEnds(removal, { error: EAGAIN });
          scenario.createEnds(creation);
        },
      },
      {
        title: 'the remove comes even before the driver probes',
        run(scenario) {
          const creation = scenario.createEnters(scenario.parent());
          const removal = scenario.removeBegins(creation.device, {
            as: { pid: 700, comm: 'bash' },
            idle: true,
          });
          scenario.removeEnds(removal, { error: EAGAIN });
          scenario.createEnds(scenario.probeBegins(creation));
        },
      },
    ],
    doesNotFire: [
      {
        title: 'two removers at once: the second gets EAGAIN',
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
          scenario.close(open);
          scenario.removeEnds(first);
        },
      },
      {
        title: 'a create whose driver is not ready yet and asks to be tried again',
        also: ['create-failed'],
        run(scenario) {
          scenario.createFails(scenario.parent(), EAGAIN);
        },
      },
      {
        title: 'the remove raced the create and succeeded',
        run(scenario) {
          const creation = scenario.createBegins(scenario.parent());
          const removal = scenario.removeBegins(creation.device, {
            as: { pid: 700, comm: 'bash' },
            idle: true,
          });
          scenario.createEnds(creation);
          scenario.teardown(removal);
          scenario.removeEnds(removal);
        },
      },
    ],
  },
};
