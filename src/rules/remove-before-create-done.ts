import { EAGAIN } from './errno.ts';
import type { Rule } from './rule.ts';
import { deviceWords, seconds, who } from './words.ts';

export const removeBeforeCreateDone: Rule = {
  id: 'remove-before-create-done',
  title: 'A device was removed before its creation had finished',
  severity: 'warning',
  meaning:
    'The `remove` file of an mdev appears in sysfs before its driver has set it up. Whoever writes to ' +
    'it in that window gets EAGAIN, and the file is gone afterwards: see remove-file-lost. The slower ' +
    "the driver's setup, the wider the window.",
  advice:
    'Let the tool that creates devices wait until the write to `create` has returned, or for the ' +
    'udev event, before it hands the device on.',
  origin:
    'vfio/mdev: Improve the create/remove sequence (Parav Pandit, 2019); mdev_device_remove() returns ' +
    '-EAGAIN while mdev->active is false',
  evidence:
    'Who created and who removed, how far the creation was, and how long it had been going on.',
  provocation: {
    by: 'user',
    how:
      'One thread writes a UUID to `create`, another tries to write to `remove` until it succeeds. On ' +
      '5.10 the file is the last thing that a create makes, so the race is all but lost.',
  },
  basis: 'history',
  needs: ['mdev.create'],
  on: {
    'mdev.remove:end'({ event, device }, { report }) {
      if (event.ret !== -EAGAIN || device?.stateAtRemove !== 'creating') return;
      report({
        device,
        task: device.remover,
        says:
          `${who(device.remover)} removed ${deviceWords(device)} ` +
          `${seconds(device.removeBegan - device.createBegan)} after ${who(device.creator)} began to ` +
          'create it, and before that had finished. The kernel refused with EAGAIN.',
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'the remove comes while the driver still probes',
        tell(story) {
          const creation = story.createBegins(story.parent());
          const removal = story.removeBegins(creation.device, {
            as: { pid: 700, comm: 'bash' },
            idle: true,
          });
          story.removeEnds(removal, { error: EAGAIN });
          story.createEnds(creation);
        },
      },
      {
        title: 'the remove comes even before the driver probes',
        tell(story) {
          const creation = story.createEnters(story.parent());
          const removal = story.removeBegins(creation.device, {
            as: { pid: 700, comm: 'bash' },
            idle: true,
          });
          story.removeEnds(removal, { error: EAGAIN });
          story.createEnds(story.probeBegins(creation));
        },
      },
    ],
    silent: [
      {
        title: 'two removers at once: the second gets EAGAIN',
        also: ['remove-failed'],
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          const first = story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          const second = story.removeBegins(device, { as: { pid: 701, comm: 'bash' }, idle: true });
          story.removeEnds(second, { error: EAGAIN });
          story.close(open);
          story.removeEnds(first);
        },
      },
      {
        title: 'a create whose driver is not ready yet and asks to be tried again',
        tell(story) {
          story.createFails(story.parent(), EAGAIN);
        },
      },
      {
        title: 'the remove raced the create but came through',
        tell(story) {
          const creation = story.createBegins(story.parent());
          const removal = story.removeBegins(creation.device, {
            as: { pid: 700, comm: 'bash' },
            idle: true,
          });
          story.createEnds(creation);
          story.teardown(removal);
          story.removeEnds(removal);
        },
      },
    ],
  },
};
