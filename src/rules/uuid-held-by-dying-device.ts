import type { Device } from '../lifecycle/objects.ts';
import { EEXIST } from './errno.ts';
import type { Rule } from './rule.ts';
import { openers, who } from './words.ts';

/** Its removal began, and it is not released yet. */
export function isDying(device: Device): boolean {
  return device.state === 'removing';
}

function why({ createError, creator, remover }: Device): string {
  if (createError > 0) return `what ${who(creator)} failed to create under that UUID is not freed`;
  return `${who(remover)} is still removing the old device of that UUID`;
}

export const uuidHeldByDyingDevice: Rule = {
  id: 'uuid-held-by-dying-device',
  title: 'A UUID is still held by a device that is being removed',
  severity: 'warning',
  meaning:
    'A create failed with EEXIST because the old device of that UUID is on its way out but not gone: ' +
    'its removal waits, usually for a process that still has it open. The old device is no longer ' +
    'usable and the new one cannot be made, so whatever restarts this VM will keep failing.',
  advice:
    'Find out what the removal waits for (the explanation names it), and end that. The create works ' +
    'as soon as the old device is released.',
  origin: 'mdev_device_create() and mdev_device_release() in drivers/vfio/mdev/mdev_core.c',
  evidence:
    'The life of the device on its way out: who removes it since when, and who has it open.',
  provocation: {
    by: 'user',
    how: 'A device is removed while it is open, and its UUID is written to `create` meanwhile.',
  },
  basis: 'event',
  needs: ['mdev.unbind', 'mdev.release'],
  on: {
    'mdev.create:end'({ event, device }, { report }) {
      const holder = device?.holder;
      if (event.ret !== -EEXIST || !holder || !isDying(holder)) return;
      report({
        device,
        task: device.creator,
        says:
          `${who(device.creator)} asked for ${device.name}, but ${why(holder)}` +
          `${holder.openCount > 0 ? `, which is held open by ${openers(holder)}` : ''}.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'created again while the old device waits for its opener',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          story.createFails(parent, EEXIST, { uuid: device.uuid });
        },
      },
    ],
    silent: [
      {
        title: 'the UUID is taken by a healthy device',
        also: ['duplicate-uuid'],
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          story.createFails(parent, EEXIST, { uuid: device.uuid });
        },
      },
      {
        title: 'created again after a stalled removal ended',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const open = story.open(device, { vm: story.createVm() });
          const removal = story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          story.close(open);
          story.removeEnds(removal);
          story.create(parent, { uuid: device.uuid });
        },
      },
    ],
  },
};
