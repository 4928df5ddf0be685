import type { Moment } from '../lifecycle/moment.ts';
import { type Device, taskOf } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { EAGAIN, EBUSY, ENODEV, errnoName } from './errno.ts';
import { isParentLeaving } from './remove-races-parent-unregister.ts';
import type { Rule, RuleContext } from './rule.ts';
import { mdevFromBefore } from './story-mdev.ts';
import type { Actor } from './told.ts';
import { deviceWords, who } from './words.ts';

const REMOVER: Actor = { pid: 700, comm: 'bash' };

export const removeFailed: Rule = {
  id: 'remove-failed',
  title: 'The kernel refused to remove a device',
  severity: 'warning',
  meaning:
    'Somebody wrote to the `remove` file of an mdev, and the kernel refused. It takes that file away ' +
    'before it tries, so whoever wrote has no second attempt: if the device stays, remove-file-lost ' +
    'follows. Two reasons have rules of their own, which tell who was in the way of whom: the creation ' +
    'had not finished (remove-before-create-done), or the parent was being unregistered ' +
    '(remove-races-parent-unregister). This rule speaks of every other refusal, and of these where ' +
    'what came before was not seen. What a driver returns from its own remove is no refusal: the ' +
    'kernel goes on.',
  advice:
    'Find out from the explanation what was under way with the device, and whether it is gone by now. ' +
    'If it is still there, see remove-file-lost.',
  origin:
    'vfio/mdev: Improve the create/remove sequence (Parav Pandit and Pierre Morel, 2019), where it was ' +
    'agreed that a removal may fail before it begins, and never after; mdev_device_remove() in ' +
    'drivers/vfio/mdev/mdev_core.c',
  evidence: 'Who wrote, what the kernel returned, and what else was under way with the device.',
  provocation: {
    by: 'driver',
    how:
      'The agent starts while a driver takes its time to set a device up, and the device is removed ' +
      'before that ends: of its creation nothing was seen.',
  },
  basis: 'event',
  needs: ['mdev.create', 'mdev.parent.unregister'],
  on: { 'mdev.remove:end': check },
  examples: {
    fires: [
      {
        title: 'a second remover meets the first, which waits for an opener',
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device, { as: { pid: 701, comm: 'mdevctl' } });
          const second = story.removeBegins(device, { as: REMOVER, idle: true });
          story.removeEnds(second, { error: EAGAIN });
        },
      },
      {
        title: 'the device is not on the list, though nobody withdraws its parent',
        also: ['remove-file-lost'],
        tell(story) {
          const device = story.create(story.parent());
          const removal = story.removeBegins(device, { as: REMOVER, idle: true });
          story.removeEnds(removal, { error: ENODEV });
          story.wait(3);
        },
      },
      {
        title: 'an error that the kernel has no reason for',
        tell(story) {
          const device = story.create(story.parent());
          const removal = story.removeBegins(device, { as: REMOVER, idle: true });
          story.removeEnds(removal, { error: EBUSY });
        },
      },
    ],
    silent: [
      {
        title: 'a removal that works',
        tell(story) {
          story.remove(story.create(story.parent()));
        },
      },
      {
        title: 'the creation has not finished: that is remove-before-create-done',
        also: ['remove-before-create-done'],
        tell(story) {
          const creation = story.createBegins(story.parent());
          const removal = story.removeBegins(creation.device, { as: REMOVER, idle: true });
          story.removeEnds(removal, { error: EAGAIN });
          story.createEnds(creation);
        },
      },
      {
        title: 'the parent is being unregistered: that is remove-races-parent-unregister',
        also: ['remove-races-parent-unregister'],
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const unregistering = story.parentUnregisterBegins(parent);
          const removal = story.removeBegins(device, { as: REMOVER, idle: true });
          story.removeEnds(removal, { error: ENODEV });
          story.childRemoved(unregistering, device);
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'a second writer finds the file gone and never reaches the kernel',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          const removal = story.removeBegins(device, { as: REMOVER });
          story.wait(3);
          story.close(open);
          story.removeEnds(removal);
        },
      },
      {
        title: 'the removal of a device from before the agent works as well',
        tell(story) {
          story.remove(mdevFromBefore(story.parent()));
        },
      },
    ],
  },
};

function check({ event, device }: Moment, { world, report }: RuleContext): void {
  if (event.ret >= 0 || !device) return;
  const errno = -event.ret;
  if (errno === EAGAIN && isTooEarly(device, world)) return;
  if (errno === ENODEV && isParentLeaving(device)) return;
  const task = taskOf(event);
  report({
    device,
    task,
    says:
      `${who(task)} wanted to remove ${deviceWords(device)}, and the kernel refused with ` +
      `${errnoName(errno)}: ${reason(errno)}.`,
  });
}

/** Then remove-before-create-done speaks, if it saw that creation begin. */
function isTooEarly(device: Device, world: World): boolean {
  return device.stateAtRemove === 'creating' && world.qualityOf(device) === 'observed';
}

function reason(errno: number): string {
  switch (errno) {
    case EAGAIN:
      return 'another removal was under way, or it was still being created';
    case ENODEV:
      return 'it was removed already, or its parent was being unregistered';
    default:
      return 'an error that this kernel is not known to return';
  }
}
