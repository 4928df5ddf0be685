import { EAGAIN, ENODEV } from '../engine/errno.ts';
import type { Rule } from '../engine/rule.ts';
import { deviceWords, who } from '../engine/words.ts';
import type { Device, Parent } from '../lifecycle/objects.ts';
import { childRemovedUnbound, mdevFromBefore, removeUnfreed, unbind } from '../scenario/mdev.ts';

export const orphanChild: Rule = {
  id: 'orphan-child',
  title: 'A device was left behind when its parent was unregistered',
  severity: 'critical',
  description:
    'The unregistration of a parent removes all its mdevs first. Here the parent is gone, and ' +
    'the removal of one of its mdevs has not begun: the device is still on its bus, can be ' +
    'opened, and refers to a parent whose memory its driver is about to free. When the driver ' +
    'is unloaded, its code is gone as well.',
  remediation:
    'Do not use or remove the device, do not stop the processes that have it open, and do not unload ' +
    'its driver. Move the other guests away, and reboot. Report it with the evidence: ' +
    'the core waits for creations and removals before it removes all devices, so its locking ' +
    'is broken.',
  references:
    'vfio/mdev: Synchronize device create/remove with parent removal, its issue 1 (Parav Pandit, May ' +
    '2019); device_for_each_child() in mdev_unregister_parent()',
  evidence:
    'The whole unregistration of the parent, who unregistered it, and who created the device.',
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
          ongoing: true,
          message:
            `${who(parent.remover)} unregistered ${parent.name}, but its device ${deviceWords(device)}, ` +
            `created by ${who(device.creator)}, was left behind: it still exists, and its parent does not.`,
        });
      }
    },
  },
  examples: {
    fires: [
      {
        title: 'one of two devices is left out',
        run(scenario) {
          const parent = scenario.parent();
          const [first] = [scenario.create(parent), scenario.create(parent)];
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.childRemoved(unregistering, first);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'created while the parent searched for its devices, and missed by it',
        run(scenario) {
          const parent = scenario.parent();
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.create(parent);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'its removal was refused, and the unregistration it was left to missed it',
        also: ['remove-races-parent-unregister'],
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const unregistering = scenario.parentUnregisterBegins(parent);
          const removal = scenario.removeBegins(device, { idle: true });
          scenario.removeEnds(removal, { error: ENODEV });
          scenario.parentUnregisterEnds(unregistering);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'all are removed',
        run(scenario) {
          const parent = scenario.parent();
          const devices = [scenario.create(parent), scenario.create(parent)];
          const unregistering = scenario.parentUnregisterBegins(parent);
          for (const device of devices) scenario.childRemoved(unregistering, device);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'one that lost its driver is removed as well',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          unbind(scenario, device);
          const unregistering = scenario.parentUnregisterBegins(parent);
          childRemovedUnbound(scenario, unregistering, device);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'a removed device is not freed: that is child-outlives-parent',
        also: ['child-outlives-parent'],
        run(scenario) {
          const parent = scenario.parent();
          removeUnfreed(scenario, scenario.create(parent));
          scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(parent));
          scenario.wait(3);
        },
      },
      {
        title: 'one from before the agent, whose removal may have begun before, too',
        also: ['remove-failed'],
        run(scenario) {
          const parent = scenario.parent();
          const removal = scenario.removeBegins(mdevFromBefore(parent), { idle: true });
          scenario.removeEnds(removal, { error: EAGAIN });
          scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(parent));
        },
      },
      {
        title:
          'a creation that the kernel should have refused: that is create-races-parent-unregister',
        also: ['create-races-parent-unregister'],
        run(scenario) {
          const parent = scenario.parent();
          const first = scenario.create(parent);
          const creation = scenario.createEnters(parent, { as: { pid: 700, comm: 'mdevctl' } });
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.childRemoved(unregistering, first);
          scenario.createEnds(scenario.probeBegins(creation));
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'a device of another parent stays',
        run(scenario) {
          scenario.create(scenario.parent());
          const other = scenario.parent({ name: 'mdpy' });
          scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(other));
        },
      },
    ],
  },
};

/** Its removal has not begun: neither with its parent nor before. */
function isOrphan(device: Device, parent: Parent): boolean {
  if (device.adopted) return false;
  // The kernel should have refused its creation, which create-races-parent-unregister reports.
  const isTooLate = parent.teardownBegan > 0 && device.probeBegan > parent.teardownBegan;
  const isRemoved = device.removedAt > 0 || device.removeBegan > device.removeFailedAt;
  return !isTooLate && !isRemoved && device.state !== 'removing';
}
