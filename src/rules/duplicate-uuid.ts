import { EEXIST } from './errno.ts';
import type { Rule } from './rule.ts';
import { isDying } from './uuid-held-by-dying-device.ts';
import { who } from './words.ts';

export const duplicateUuid: Rule = {
  id: 'duplicate-uuid',
  title: 'A UUID was used twice',
  severity: 'info',
  severityVaries:
    'A warning when the device that exists is on another parent: then two tools believe they own it.',
  meaning:
    'Somebody tried to create a mediated device with a UUID that is in use. UUIDs are unique on the ' +
    'whole host, across all parents, because every mdev is linked under the same bus directory. The ' +
    'kernel refuses the second create with EEXIST. Across parents it usually means that two tools, or ' +
    'two configurations, believe they own the same device.',
  advice:
    'Look at who made the first device and who asked for the second. Give one of them another UUID.',
  origin:
    'vfio/mdev: Check globally for duplicate devices (Alex Williamson, May 2018); ' +
    'mdev_device_create() in drivers/vfio/mdev/mdev_core.c',
  evidence:
    'The life of the device that has the UUID: who created it, on which parent, and what became of it.',
  provocation: {
    by: 'user',
    how: 'One UUID is written to `create` twice on one parent, and once more on another.',
  },
  basis: 'event',
  on: {
    'mdev.create:end'({ event, device }, { report }) {
      if (event.ret !== -EEXIST || !device) return;
      const { holder } = device;
      // That case has a rule of its own, which says what to wait for.
      if (holder && isDying(holder)) return;
      const elsewhere = holder !== undefined && holder.parentName !== device.parentName;
      report({
        device,
        task: device.creator,
        severity: elsewhere ? 'warning' : 'info',
        says: holder
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
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          story.createFails(parent, EEXIST, { uuid: device.uuid });
        },
      },
      {
        title: 'the same UUID on another parent',
        tell(story) {
          const device = story.create(story.parent({ name: 'mtty' }));
          story.createFails(story.parent({ name: 'mdpy' }), EEXIST, { uuid: device.uuid });
        },
      },
    ],
    silent: [
      {
        title: 'a UUID used again after its device was removed',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          story.remove(device);
          story.create(parent, { uuid: device.uuid });
        },
      },
      {
        title: 'a create that fails for another reason',
        also: ['instances-exhausted'],
        tell(story) {
          story.createFails(story.parent(), 87);
        },
      },
    ],
  },
};
