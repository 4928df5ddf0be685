import { isBeingRemoved } from '../engine/conditions.ts';
import { createRefusalOf } from '../engine/create-refusal.ts';
import { EEXIST } from '../engine/errno.ts';
import { heldOpen, keptRegistered } from '../engine/holder-words.ts';
import type { Rule, RuleContext } from '../engine/rule.ts';
import type { Attribution } from '../engine/violation.ts';
import { who } from '../engine/words.ts';
import type { Device } from '../lifecycle/objects.ts';

/** Why the older device of the UUID is still there: what its removal waits for, or who forgot it. */
function why(holder: Device, { holders }: Attribution, context: RuleContext): string {
  const { createError, creator, remover, unregisterBegan, unregisteredAt, removedAt } = holder;
  if (createError > 0)
    return `the device that ${who(creator)} failed to create under that UUID is not freed`;
  if (removedAt > 0) {
    return (
      `the old device of that UUID, whose removal by ${who(remover)} has returned, is not freed: ` +
      'something holds a reference on it, so check its driver; ending a process does not help'
    );
  }
  const removing = `${who(remover)} is still removing the old device of that UUID`;
  const isOpen = holder.openCount > 0 || holder.opens.length > 0;
  if (isOpen) return `${removing}, which ${heldOpen(holder, holders, context.now)}`;
  const isWaiting = unregisterBegan > 0 && unregisteredAt === 0;
  return isWaiting
    ? `${removing}, and waits: ${keptRegistered(holder, holders, context)}`
    : `${removing}, which nobody has open: it is in the driver or the core`;
}

export const uuidHeldByDyingDevice: Rule = {
  id: 'uuid-held-by-dying-device',
  title: 'A UUID is still held by a device that is being removed',
  severity: 'warning',
  description:
    'A create failed with EEXIST because the old device of that UUID is not freed yet: its removal ' +
    'waits, usually for a process that still has the device open, or it has returned although ' +
    'something holds a reference on the device. The old device is no longer usable and the new ' +
    'one cannot be created, so whatever restarts this VM will keep failing.',
  remediation:
    'If the removal still waits for a process, end that; the message names it, and the UUID is free ' +
    'once the old device is released. If the removal has returned, no process holds the device: a ' +
    'reference was taken and not put, most likely by the driver. Report it, and use another UUID ' +
    'until the next reboot.',
  references: 'mdev_device_create() and mdev_device_release() in drivers/vfio/mdev/mdev_core.c',
  evidence:
    'The lifecycle of the device that is being removed: who removes it since when, and who has ' +
    'it open.',
  provocation: {
    by: 'user',
    how: 'A device is removed while it is open, and its UUID is written to `create` meanwhile.',
  },
  basis: 'event',
  needs: ['mdev.unbind', 'mdev.release'],
  on: {
    'mdev.create:end'({ event, device }, context) {
      const holder = device?.holder;
      if (event.ret >= 0 || !holder || !isBeingRemoved(holder)) return;
      if (createRefusalOf(device) === 'exists') reportHeld(device, holder, context);
    },
  },
  examples: {
    fires: [
      {
        title: 'created again while the old device waits for its opener',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.createFails(parent, EEXIST, { uuid: device.uuid });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the UUID is taken by a device that is not being removed',
        also: ['duplicate-uuid'],
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          scenario.createFails(parent, EEXIST, { uuid: device.uuid });
        },
      },
      {
        title: 'created again after a stalled removal ended',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const open = scenario.open(device, { vm: scenario.createVm() });
          const removal = scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.close(open);
          scenario.removeEnds(removal);
          scenario.create(parent, { uuid: device.uuid });
        },
      },
    ],
  },
};

function reportHeld(device: Device, holder: Device, context: RuleContext): void {
  const { creator, name } = device;
  context.report({
    device,
    task: creator,
    message: (attribution) =>
      `${who(creator)} asked for ${name}, but ${why(holder, attribution, context)}.`,
  });
}
