import { isParentUnregistering } from '../engine/conditions.ts';
import { EAGAIN, EBUSY, ENODEV, errnoName } from '../engine/errno.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import type { Device } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { mdevFromBefore } from '../scenario/mdev.ts';
import type { Actor } from '../scenario/types.ts';

const REMOVER: Actor = { pid: 700, comm: 'bash' };

export const removeFailed: Rule = {
  id: 'remove-failed',
  title: 'The kernel refused to remove a device',
  severity: 'warning',
  description:
    'A process wrote to the `remove` file of an mdev, and the kernel refused. The kernel ' +
    'deletes that file before it tries, so there is no second attempt: if the device stays, ' +
    'remove-file-lost follows. Two causes have rules of their own, which name the process on ' +
    'the other side: the creation had not finished (remove-before-create-done), or the parent ' +
    'was being unregistered (remove-races-parent-unregister). This rule reports every other ' +
    'refusal, and those two where the earlier events were not observed. An error that a driver ' +
    'returns from its own remove callback is no refusal: the kernel continues.',
  remediation:
    'Check whether the device still exists. If it does, see remove-file-lost. The message says ' +
    'what else was in progress on the device.',
  references:
    'vfio/mdev: Improve the create/remove sequence (Parav Pandit and Pierre Morel, 2019), where it was ' +
    'agreed that a removal may fail before it begins, and never after; mdev_device_remove() in ' +
    'drivers/vfio/mdev/mdev_core.c',
  evidence: 'Who wrote, what the kernel returned, and what else was in progress on the device.',
  blindSpot:
    'A second writer that finds the `remove` file gone, because it never reaches the kernel.',
  occurrences: 'the device and the errno',
  provocation: {
    by: 'driver',
    how:
      'The agent starts while a driver is slow to set a device up, and the device is removed ' +
      'before that ends: its creation was not observed.',
  },
  basis: 'event',
  needs: ['mdev.create', 'mdev.parent.unregister'],
  on: { 'mdev.remove:end': check },
  examples: {
    fires: [
      {
        title: 'a second remover meets the first, which waits for an opener',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: { pid: 701, comm: 'mdevctl' } });
          const second = scenario.removeBegins(device, { as: REMOVER, idle: true });
          scenario.removeEnds(second, { error: EAGAIN });
        },
      },
      {
        title: 'the device is not on the list, although nobody unregisters its parent',
        also: ['remove-file-lost'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const removal = scenario.removeBegins(device, { as: REMOVER, idle: true });
          scenario.removeEnds(removal, { error: ENODEV });
          scenario.wait(3);
        },
      },
      {
        title: 'an error that the kernel has no reason for',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const removal = scenario.removeBegins(device, { as: REMOVER, idle: true });
          scenario.removeEnds(removal, { error: EBUSY });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'a removal that works',
        run(scenario) {
          scenario.remove(scenario.create(scenario.parent()));
        },
      },
      {
        title: 'the creation has not finished: that is remove-before-create-done',
        also: ['remove-before-create-done'],
        run(scenario) {
          const creation = scenario.createBegins(scenario.parent());
          const removal = scenario.removeBegins(creation.device, { as: REMOVER, idle: true });
          scenario.removeEnds(removal, { error: EAGAIN });
          scenario.createEnds(creation);
        },
      },
      {
        title: 'the parent is being unregistered: that is remove-races-parent-unregister',
        also: ['remove-races-parent-unregister'],
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const unregistering = scenario.parentUnregisterBegins(parent);
          const removal = scenario.removeBegins(device, { as: REMOVER, idle: true });
          scenario.removeEnds(removal, { error: ENODEV });
          scenario.childRemoved(unregistering, device);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'a second writer finds the file gone and never reaches the kernel',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          const removal = scenario.removeBegins(device, { as: REMOVER });
          scenario.wait(3);
          scenario.close(open);
          scenario.removeEnds(removal);
        },
      },
      {
        title: 'the removal of a device from before the agent works as well',
        run(scenario) {
          scenario.remove(mdevFromBefore(scenario.parent()));
        },
      },
    ],
  },
};

function check({ event, device }: ObservedTransition, { world, report }: RuleContext): void {
  if (event.ret >= 0 || !device) return;
  const errno = -event.ret;
  if (errno === EAGAIN && isTooEarly(device, world)) return;
  if (errno === ENODEV && isParentUnregistering(device)) return;
  const task = taskOf(event);
  report({
    device,
    task,
    sameAs: `${device.name} ${event.ret}`,
    message:
      `${who(task)} tried to remove ${deviceWords(device)}, and the kernel refused with ` +
      `${errnoName(errno)}: ${reason(errno)}.`,
  });
}

/** remove-before-create-done reports it, if the begin of the creation was observed. */
function isTooEarly(device: Device, world: World): boolean {
  return device.stateAtRemove === 'creating' && world.qualityOf(device) === 'observed';
}

function reason(errno: number): string {
  switch (errno) {
    case EAGAIN:
      return 'another removal was in progress, or it was still being created';
    case ENODEV:
      return 'it was removed already, or its parent was being unregistered';
    default:
      return 'an error that this kernel is not known to return';
  }
}
