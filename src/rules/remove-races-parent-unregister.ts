import type { Moment } from '../lifecycle/moment.ts';
import { type Device, taskOf } from '../lifecycle/objects.ts';
import { ENODEV } from './errno.ts';
import type { Rule, RuleContext } from './rule.ts';
import { childRemovalBegins, childRemovedUnbound, unbind } from './story-mdev.ts';
import type { Actor } from './told.ts';
import { deviceWords, who } from './words.ts';

const REMOVER: Actor = { pid: 700, comm: 'bash' };

export const removeRacesParentUnregister: Rule = {
  id: 'remove-races-parent-unregister',
  title: 'A device was removed while its parent was being unregistered',
  severity: 'info',
  severityVaries: 'Critical when the device was taken apart twice.',
  meaning:
    'Somebody removed an mdev while its parent was being withdrawn, which removes all its mdevs. The ' +
    'kernel leaves the device to one of the two and refuses the other with ENODEV, so nothing is lost: ' +
    'the device goes either way, and whoever was refused only sees an error. Until 2019 both went on, ' +
    "and the loser worked with a parent that was gone. Should a device's driver be made to let go of " +
    'it twice, that is back, and memory that is free is in use.',
  advice:
    'For ENODEV nothing has to be done: the device goes with its parent. If tools remove devices and ' +
    'unload their driver at once, let one wait for the other. After a double teardown, save what you ' +
    'can, plan a reboot, and report it with the evidence.',
  origin:
    'vfio/mdev: Synchronize device create/remove with parent removal, its issue 2 (Parav Pandit, May ' +
    '2019); unreg_sem in mdev_device_remove()',
  evidence: 'Both calls, removal and withdrawal, with who made them.',
  provocation: {
    by: 'user',
    how:
      'Devices are removed while the module of their driver is unloaded, again and again, until a ' +
      'removal comes between.',
  },
  basis: 'event',
  needs: ['mdev.probe', 'mdev.remove_child', 'mdev.parent.unregister'],
  on: {
    'mdev.remove:end': checkRefusal,
    'mdev.unbind:begin': checkTeardown,
  },
  examples: {
    fires: [
      {
        title: 'a remover comes when the parent is being withdrawn, and is refused',
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
        title: 'it is refused only when the withdrawal is over',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const removal = story.removeBegins(device, { as: REMOVER, idle: true });
          const unregistering = story.parentUnregisterBegins(parent);
          story.childRemoved(unregistering, device);
          story.parentUnregisterEnds(unregistering);
          story.removeEnds(removal, { error: ENODEV });
        },
      },
      {
        title: 'both take the device apart',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          story.removeBegins(device, { as: REMOVER });
          childRemovalBegins(story, story.parentUnregisterBegins(parent), device);
        },
      },
    ],
    silent: [
      {
        title: 'the removal was first, and the withdrawal waits for it',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const open = story.open(device, { vm: story.createVm() });
          const removal = story.removeBegins(device, { as: REMOVER });
          const unregistering = story.parentUnregisterBegins(parent);
          story.close(open);
          story.removeEnds(removal);
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'a removal entered the kernel first, and goes on when the withdrawal has begun',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const removal = story.removeBegins(device, { as: REMOVER, idle: true });
          const unregistering = story.parentUnregisterBegins(parent);
          story.teardown(removal);
          story.removeEnds(removal);
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'ENODEV although nobody withdraws the parent: that is remove-failed',
        also: ['remove-failed'],
        tell(story) {
          const device = story.create(story.parent());
          const removal = story.removeBegins(device, { as: REMOVER, idle: true });
          story.removeEnds(removal, { error: ENODEV });
        },
      },
      {
        title: 'another parent is withdrawn',
        tell(story) {
          const device = story.create(story.parent());
          const unregistering = story.parentUnregisterBegins(story.parent({ name: 'mdpy' }));
          story.remove(device, { as: REMOVER });
          story.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'it lost its driver before: it has nothing to let go of when its parent goes',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          unbind(story, device);
          const unregistering = story.parentUnregisterBegins(parent);
          childRemovedUnbound(story, unregistering, device);
          story.parentUnregisterEnds(unregistering);
        },
      },
    ],
  },
};

/** Whether its parent is being unregistered, or was while something else was done to the device. */
export function isParentLeaving({ parent }: Device): boolean {
  return parent?.state === 'unregistering' || parent?.state === 'gone';
}

function checkRefusal({ event, device }: Moment, { report }: RuleContext): void {
  if (event.ret !== -ENODEV || !device || !isParentLeaving(device)) return;
  const { parent, parentName } = device;
  const task = taskOf(event);
  report({
    device,
    parent,
    task,
    says:
      `${who(task)} wanted to remove ${deviceWords(device)}, and the kernel refused with ENODEV, ` +
      `because ${who(parent?.remover)} was unregistering its parent ${parentName}. It goes with that.`,
  });
}

function checkTeardown({ event, device }: Moment, { world, report }: RuleContext): void {
  if (!device || device.unbinds < 2 || !device.parent?.unregisterBegan) return;
  // Of one whose life was not seen whole, what came between may be missing.
  if (world.qualityOf(device) !== 'observed') return;
  const { parent, parentName, remover } = device;
  const task = taskOf(event);
  report({
    device,
    parent,
    task,
    severity: 'critical',
    says:
      `${deviceWords(device)} is taken apart twice, by ${who(remover)} and now by ${who(task)}, while ` +
      `${who(parent.remover)} unregisters its parent ${parentName}. One of them works with memory that ` +
      'the other has freed, or is about to.',
  });
}
