import type { Moment } from '../lifecycle/moment.ts';
import { EEXIST } from './errno.ts';
import type { Rule, RuleContext } from './rule.ts';
import { mdevFromBefore, probeFailsLeaking } from './story-mdev.ts';
import { deviceWords, who } from './words.ts';

export const duplicateUuidLive: Rule = {
  id: 'duplicate-uuid-live',
  title: 'Two devices live under one UUID',
  severity: 'critical',
  meaning:
    'A mediated device was created under a UUID that another one has, and the kernel let it through. ' +
    'All mdevs of the host are linked by their UUID under one bus directory: of two, one cannot be ' +
    'reached, and which of them a VMM opens, or an administrator removes, is left to chance. Kernels ' +
    'before 4.18 looked only at the same parent; since then the list of all mdevs is searched under a ' +
    'lock, so this means that the list is broken.',
  advice:
    'Do not start VMs with that UUID. Find both devices in the explanation, stop whoever uses either, ' +
    'and reboot. Report it with the evidence.',
  origin:
    'vfio/mdev: Check globally for duplicate devices (Alex Williamson, May 2018); ' +
    'mdev_device_create() in drivers/vfio/mdev/mdev_core.c',
  evidence: 'The lives of both devices, with their parents and who created them.',
  provocation: {
    by: 'nothing',
    how: 'The core refuses it on every parent of the host, whatever drivers do.',
  },
  basis: 'history',
  needs: ['mdev.create', 'mdev.release'],
  on: { 'mdev.probe:begin': check },
  examples: {
    fires: [
      {
        title: 'the same UUID on another parent',
        tell(story) {
          const { uuid } = story.create(story.parent({ name: 'mtty' }));
          story.create(story.parent({ name: 'mdpy' }), { uuid });
        },
      },
      {
        title: 'the same UUID twice on one parent',
        tell(story) {
          const parent = story.parent();
          const { uuid } = story.create(parent);
          story.create(parent, { uuid });
        },
      },
    ],
    silent: [
      {
        title: 'the second is refused: that is duplicate-uuid',
        also: ['duplicate-uuid'],
        tell(story) {
          const parent = story.parent();
          const { uuid } = story.create(parent);
          story.createFails(parent, EEXIST, { uuid });
        },
      },
      {
        title: 'the first was removed',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          story.remove(device);
          story.create(parent, { uuid: device.uuid });
        },
      },
      {
        title: 'the first is freed just when the second is asked for',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const removal = story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          const creation = story.createEnters(parent, { uuid: device.uuid });
          story.removeEnds(removal);
          story.createEnds(story.probeBegins(creation));
        },
      },
      {
        title: 'the creation of the first failed, and it was freed later',
        tell(story) {
          const parent = story.parent();
          const creation = story.createEnters(parent);
          const { device } = creation;
          probeFailsLeaking(story, creation, 'mdev');
          story.freeMdev(device);
          story.create(parent, { uuid: device.uuid });
        },
      },
      {
        title: 'the first was there before the agent: its end may have been missed',
        tell(story) {
          const parent = story.parent();
          const device = mdevFromBefore(parent);
          story.open(device, { vm: story.createVm() });
          story.create(parent, { uuid: device.uuid });
        },
      },
    ],
  },
};

/** The core has looked for the UUID and found none when it asks the driver. */
function check({ device }: Moment, { world, report }: RuleContext): void {
  if (device?.state !== 'creating' || !device.holder) return;
  const { holder, creator, parentName } = device;
  if (holder.releasedAt > 0 || world.qualityOf(holder) !== 'observed') return;
  report({
    device,
    task: creator,
    says:
      `${who(creator)} is creating ${deviceWords(device)} on ${parentName}, and the kernel lets it ` +
      `through, although that UUID belongs to a device on ${holder.parentName} which ` +
      `${who(holder.creator)} created and which is not freed.`,
  });
}
