import { isBeingRemoved } from '../engine/conditions.ts';
import { createRefusalOf } from '../engine/create-refusal.ts';
import { EEXIST } from '../engine/errno.ts';
import type { Rule } from '../engine/rule.ts';
import { who } from '../engine/words.ts';

export const duplicateUuid: Rule = {
  id: 'duplicate-uuid',
  title: 'A UUID was used twice',
  severity: 'info',
  severityVaries:
    'A warning when the device that exists is on another parent: then two tools believe that ' +
    'they own it.',
  description:
    'A process tried to create a mediated device with a UUID that is in use. UUIDs are unique ' +
    'on the whole host, across all parents, because every mdev is linked under the same bus ' +
    'directory. The kernel refuses the second create with EEXIST. Across parents it usually ' +
    'means that two tools, or two configurations, believe that they own the same device.',
  remediation:
    'Give one of the two devices another UUID. The message names who created the first and who ' +
    'requested the second.',
  references:
    'vfio/mdev: Check globally for duplicate devices (Alex Williamson, May 2018); ' +
    'mdev_device_create() in drivers/vfio/mdev/mdev_core.c',
  evidence:
    'The lifecycle of the device that has the UUID: who created it, on which parent, and what ' +
    'became of it.',
  occurrences: 'the UUID and the parent on which it was asked for',
  provocation: {
    by: 'user',
    how: 'One UUID is written to `create` twice on one parent, and again on another.',
  },
  basis: 'event',
  on: {
    'mdev.create:end'({ event, device }, { report }) {
      if (event.ret >= 0 || !device || createRefusalOf(device) !== 'exists') return;
      const { holder } = device;
      // uuid-held-by-dying-device reports that case, and names what the removal waits for.
      if (holder && isBeingRemoved(holder)) return;
      const elsewhere = holder !== undefined && holder.parentName !== device.parentName;
      report({
        device,
        task: device.creator,
        sameAs: `${device.name} ${device.parentName}`,
        severity: elsewhere ? 'warning' : 'info',
        message: holder
          ? `${who(device.creator)} asked for ${device.name} on ${device.parentName}, but it exists ` +
            `on ${elsewhere ? `another parent, ${holder.parentName}` : 'the same parent'}` +
            `${holder.creator ? `, created by ${who(holder.creator)}` : ''}.`
          : `${who(device.creator)} asked for ${device.name} on ${device.parentName}, but a device ` +
            'with this UUID exists since before the agent started.',
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'the same UUID twice on one parent',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          scenario.createFails(parent, EEXIST, { uuid: device.uuid });
        },
      },
      {
        title: 'the same UUID on another parent',
        run(scenario) {
          const device = scenario.create(scenario.parent({ name: 'mtty' }));
          scenario.createFails(scenario.parent({ name: 'mdpy' }), EEXIST, { uuid: device.uuid });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'a UUID used again after its device was removed',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          scenario.remove(device);
          scenario.create(parent, { uuid: device.uuid });
        },
      },
      {
        title: 'a create that fails for another reason',
        also: ['instances-exhausted'],
        run(scenario) {
          scenario.createFails(scenario.parent(), 87);
        },
      },
    ],
  },
};
