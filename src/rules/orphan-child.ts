import type { Device, Parent } from '../lifecycle/objects.ts';
import { EAGAIN, ENODEV } from './errno.ts';
import type { Rule } from './rule.ts';
import { childRemovedUnbound, mdevFromBefore, removeUnfreed, unbind } from './story-mdev.ts';
import { deviceWords, who } from './words.ts';

export const orphanChild: Rule = {
  id: 'orphan-child',
  title: 'A device was left behind when its parent was unregistered',
  severity: 'critical',
  meaning:
    'To unregister a parent removes all its mdevs first. Here it is gone, and nobody has begun to ' +
    'remove one of its mdevs: the device is still on its bus, can be opened, and reaches a parent ' +
    'whose memory its driver is about to free. When the driver is unloaded, its code is gone as well.',
  advice:
    'Do not use or remove the device, and do not unload its driver. Stop whoever has it open, as far ' +
    'as it is still possible, and reboot. Report it with the evidence: the core waits for creations ' +
    'and removals before it removes all devices, so its locking is broken.',
  origin:
    'vfio/mdev: Synchronize device create/remove with parent removal, its issue 1 (Parav Pandit, May ' +
    '2019); device_for_each_child() in mdev_unregister_parent()',
  evidence: 'The whole withdrawal of the parent, who withdrew it, and who created the device.',
  provocation: {
    by: 'nothing',
    how: 'The core removes every child itself; no driver can make it leave one out.',
  },
  basis: 'state',
  needs: ['mdev.create', 'mdev.probe', 'mdev.remove', 'mdev.remove_child', 'mdev.release'],
  on: {
    'mdev.parent.unregister:end'({ parent }, { report }) {
      for (const device of parent?.devices ?? []) {
        if (!parent || !isOrphan(device, parent)) continue;
        report({
          device,
          parent,
          task: parent.remover,
          lasting: true,
          says:
            `${who(parent.remover)} unregistered ${parent.name}, but its device ${deviceWords(device)}, ` +
            `created by ${who(device.creator)}, was left out. It is still there, and its parent is not.`,
        });
      }
    },
  },
  examples: {
    fires: [
      {
        title: 'one of two devices is left out',
        tell(story) {
          const parent = story.parent();
          const [first] = [story.create(parent), story.create(parent)];
          const unregistering = story.parentUnregisterBegins(parent);
          story.childRemoved(unregistering, first);
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'created while the parent looked for its devices, and not seen by it',
        tell(story) {
          const parent = story.parent();
          const unregistering = story.parentUnregisterBegins(parent);
          story.create(parent);
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'its removal was refused, and left to a withdrawal that passed it by',
        also: ['remove-races-parent-unregister'],
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const unregistering = story.parentUnregisterBegins(parent);
          const removal = story.removeBegins(device, { idle: true });
          story.removeEnds(removal, { error: ENODEV });
          story.parentUnregisterEnds(unregistering);
        },
      },
    ],
    silent: [
      {
        title: 'all are removed',
        tell(story) {
          const parent = story.parent();
          const devices = [story.create(parent), story.create(parent)];
          const unregistering = story.parentUnregisterBegins(parent);
          for (const device of devices) story.childRemoved(unregistering, device);
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'one that lost its driver is removed as well',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          unbind(story, device);
          const unregistering = story.parentUnregisterBegins(parent);
          childRemovedUnbound(story, unregistering, device);
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'a removed device is not freed: that is child-outlives-parent',
        also: ['child-outlives-parent'],
        tell(story) {
          const parent = story.parent();
          removeUnfreed(story, story.create(parent));
          story.parentUnregisterEnds(story.parentUnregisterBegins(parent));
          story.wait(3);
        },
      },
      {
        title: 'one from before the agent, whose removal may have begun before, too',
        also: ['remove-failed'],
        tell(story) {
          const parent = story.parent();
          const removal = story.removeBegins(mdevFromBefore(parent), { idle: true });
          story.removeEnds(removal, { error: EAGAIN });
          story.parentUnregisterEnds(story.parentUnregisterBegins(parent));
        },
      },
      {
        title:
          'a creation that should not have come through: that is create-races-parent-unregister',
        also: ['create-races-parent-unregister'],
        tell(story) {
          const parent = story.parent();
          const first = story.create(parent);
          const creation = story.createEnters(parent, { as: { pid: 700, comm: 'mdevctl' } });
          const unregistering = story.parentUnregisterBegins(parent);
          story.childRemoved(unregistering, first);
          story.createEnds(story.probeBegins(creation));
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'a device of another parent stays',
        tell(story) {
          story.create(story.parent());
          const other = story.parent({ name: 'mdpy' });
          story.parentUnregisterEnds(story.parentUnregisterBegins(other));
        },
      },
    ],
  },
};

/** Whether nobody has begun to remove it: not with its parent, and not before. */
function isOrphan(device: Device, parent: Parent): boolean {
  if (device.adopted) return false;
  // It should not have come to be, which create-races-parent-unregister tells.
  const isTooLate = parent.teardownBegan > 0 && device.probeBegan > parent.teardownBegan;
  const isRemoved = device.removedAt > 0 || device.removeBegan > device.removeFailedAt;
  return !isTooLate && !isRemoved && device.state !== 'removing';
}
