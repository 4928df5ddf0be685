import type { Moment } from '../lifecycle/moment.ts';
import { ENODEV } from './errno.ts';
import type { Rule, RuleContext } from './rule.ts';
import { createReturns, probeEnds } from './story-mdev.ts';
import type { Actor } from './told.ts';
import { deviceWords, who } from './words.ts';

const CREATOR: Actor = { pid: 700, comm: 'mdevctl' };

export const createRacesParentUnregister: Rule = {
  id: 'create-races-parent-unregister',
  title: 'A device was created while its parent was being unregistered',
  severity: 'info',
  severityVaries: 'Critical when the kernel let the creation through.',
  meaning:
    'Somebody created an mdev on a parent that was being withdrawn. The kernel refuses it with ENODEV, ' +
    'unless it had begun early enough for the withdrawal to wait for it. Until 2019 it could come ' +
    'through in between: a device whose parent is gone, and which nobody takes away. Should a driver ' +
    'be asked to set a device up after the removal of the others began, that is back.',
  advice:
    'For ENODEV nothing has to be done but to stop creating devices on that parent. If tools create ' +
    'devices and unload their driver at once, let one wait for the other. If a creation came through, ' +
    'do not touch that device, plan a reboot, and report it with the evidence.',
  origin:
    'vfio/mdev: Synchronize device create/remove with parent removal, its issue 1 (Parav Pandit, May ' +
    '2019); unreg_sem in mdev_device_create()',
  evidence: 'Both calls, creation and withdrawal, with who made them.',
  provocation: {
    by: 'user',
    how:
      'Devices are created in a loop while the module of their driver is unloaded, again and again, ' +
      'until a creation comes between.',
  },
  basis: 'state',
  needs: ['mdev.remove_child', 'mdev.parent.unregister'],
  on: {
    'mdev.create:end': checkRefusal,
    'mdev.probe:begin': checkPassage,
  },
  examples: {
    fires: [
      {
        title: 'refused, because the withdrawal had begun',
        tell(story) {
          const parent = story.parent();
          const unregistering = story.parentUnregisterBegins(parent);
          story.createFails(parent, ENODEV, { as: CREATOR });
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'its driver sets it up when the others have been removed',
        tell(story) {
          const parent = story.parent();
          const first = story.create(parent);
          const creation = story.createEnters(parent, { as: CREATOR });
          const unregistering = story.parentUnregisterBegins(parent);
          story.childRemoved(unregistering, first);
          story.createEnds(story.probeBegins(creation));
        },
      },
      {
        title: 'its driver sets it up when the parent is gone',
        tell(story) {
          const parent = story.parent();
          const creation = story.createEnters(parent, { as: CREATOR });
          story.parentUnregisterEnds(story.parentUnregisterBegins(parent));
          story.createEnds(story.probeBegins(creation));
        },
      },
    ],
    silent: [
      {
        title: 'it began before, so the withdrawal waits for it and takes it along',
        tell(story) {
          const parent = story.parent();
          const first = story.create(parent);
          const creation = story.createBegins(parent, { as: CREATOR });
          const unregistering = story.parentUnregisterBegins(parent);
          const second = story.createEnds(creation);
          story.childRemoved(unregistering, first);
          story.childRemoved(unregistering, second);
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'it came after the withdrawal began and before that had its lock',
        tell(story) {
          const parent = story.parent();
          const first = story.create(parent);
          const unregistering = story.parentUnregisterBegins(parent);
          const second = story.create(parent, { as: CREATOR });
          story.childRemoved(unregistering, second);
          story.childRemoved(unregistering, first);
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'it is removed before its creator is back in user space',
        tell(story) {
          const parent = story.parent();
          const creation = story.createBegins(parent, { as: CREATOR });
          const unregistering = story.parentUnregisterBegins(parent);
          probeEnds(story, creation);
          story.childRemoved(unregistering, creation.device);
          createReturns(story, creation);
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'the driver itself refuses with ENODEV',
        tell(story) {
          const parent = story.parent();
          const creation = story.createEnters(parent, { as: CREATOR });
          const unregistering = story.parentUnregisterBegins(parent);
          story.probeFails(creation, ENODEV);
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'another parent is withdrawn',
        tell(story) {
          const unregistering = story.parentUnregisterBegins(story.parent({ name: 'mdpy' }));
          const parent = story.parent();
          story.create(parent, { as: CREATOR });
          story.createFails(parent, ENODEV, { as: CREATOR });
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'the parent is back when the device is created',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const unregistering = story.parentUnregisterBegins(parent);
          story.childRemoved(unregistering, device);
          story.parentUnregisterEnds(unregistering);
          story.create(story.parent(), { as: CREATOR });
        },
      },
    ],
  },
};

function checkRefusal({ event, device, parent }: Moment, { report }: RuleContext): void {
  // With its driver asked, the errno is that of its driver.
  if (event.ret !== -ENODEV || !device || device.probeBegan > 0) return;
  if (parent?.state !== 'unregistering' && parent?.state !== 'gone') return;
  report({
    device,
    parent,
    task: device.creator,
    says:
      `${who(device.creator)} asked for ${device.name} on ${device.parentName}, and the kernel refused ` +
      `with ENODEV, because ${who(parent.remover)} was unregistering that parent.`,
  });
}

/** The lock of the parent keeps creations out from when its first device is removed. */
function checkPassage({ device }: Moment, { report }: RuleContext): void {
  if (device?.state !== 'creating' || device.createBegan === 0 || !device.parent) return;
  const { parent, parentName, creator } = device;
  if (parent.teardownBegan === 0 && parent.unregisteredAt === 0) return;
  const when = parent.unregisteredAt > 0 ? 'was gone' : 'was losing its devices';
  report({
    device,
    parent,
    task: creator,
    severity: 'critical',
    says:
      `${deviceWords(device)} is being created by ${who(creator)} although its parent ${parentName} ` +
      `${when}: ${who(parent.remover)} unregistered it. Nobody will take this device away, and what it ` +
      'stands on is freed.',
  });
}
