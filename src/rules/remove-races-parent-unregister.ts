import { isParentUnregistering } from '../engine/conditions.ts';
import { ENODEV } from '../engine/errno.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import { childRemovalBegins, childRemovedUnbound, unbind } from '../scenario/mdev.ts';
import type { Actor } from '../scenario/types.ts';

const REMOVER: Actor = { pid: 700, comm: 'bash' };

export const removeRacesParentUnregister: Rule = {
  id: 'remove-races-parent-unregister',
  title: 'A device was removed while its parent was being unregistered',
  severity: 'info',
  severityVaries: 'Critical when the device was torn down twice.',
  description:
    'A process removed an mdev while its parent was being unregistered, which removes all its ' +
    'mdevs. The kernel lets one of the two remove the device and refuses the other with ' +
    'ENODEV, so nothing is lost: the device is removed either way, and the refused process ' +
    'only gets an error. Until 2019 both continued, and the second worked with a parent that ' +
    'was gone. If the driver of a device is unbound twice, that bug is back, and freed memory ' +
    'is in use.',
  remediation:
    'After ENODEV nothing has to be done: the device is removed with its parent. If tools ' +
    'remove devices and unload their driver at the same time, let one wait for the other. ' +
    'After a double teardown, save what you can, plan a reboot, and report it with the ' +
    'evidence.',
  references:
    'vfio/mdev: Synchronize device create/remove with parent removal, its issue 2 (Parav Pandit, May ' +
    '2019); unreg_sem in mdev_device_remove()',
  evidence: 'Both calls, the removal and the unregistration, with who made them.',
  provocation: {
    by: 'user',
    how:
      'Devices are removed while the module of their driver is unloaded, repeatedly, until a ' +
      'removal falls in between.',
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
        title: 'a removal while the parent is being unregistered is refused',
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
        title: 'it is refused only after the parent was unregistered',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const removal = scenario.removeBegins(device, { as: REMOVER, idle: true });
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.childRemoved(unregistering, device);
          scenario.parentUnregisterEnds(unregistering);
          scenario.removeEnds(removal, { error: ENODEV });
        },
      },
      {
        title: 'both tear the device down',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          scenario.removeBegins(device, { as: REMOVER });
          childRemovalBegins(scenario, scenario.parentUnregisterBegins(parent), device);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the removal came first, and the unregistration waits for it',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const open = scenario.open(device, { vm: scenario.createVm() });
          const removal = scenario.removeBegins(device, { as: REMOVER });
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.close(open);
          scenario.removeEnds(removal);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title:
          'a removal entered the kernel first, and continues after the unregistration has begun',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const removal = scenario.removeBegins(device, { as: REMOVER, idle: true });
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.teardown(removal);
          scenario.removeEnds(removal);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'ENODEV although nobody unregisters the parent: that is remove-failed',
        also: ['remove-failed'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const removal = scenario.removeBegins(device, { as: REMOVER, idle: true });
          scenario.removeEnds(removal, { error: ENODEV });
        },
      },
      {
        title: 'another parent is unregistered',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const unregistering = scenario.parentUnregisterBegins(scenario.parent({ name: 'mdpy' }));
          scenario.remove(device, { as: REMOVER });
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'it lost its driver before, so nothing is unbound when its parent is unregistered',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          unbind(scenario, device);
          const unregistering = scenario.parentUnregisterBegins(parent);
          childRemovedUnbound(scenario, unregistering, device);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
    ],
  },
};

function checkRefusal({ event, device }: ObservedTransition, { report }: RuleContext): void {
  if (event.ret !== -ENODEV || !device || !isParentUnregistering(device)) return;
  const { parent, parentName } = device;
  const task = taskOf(event);
  report({
    device,
    parent,
    task,
    message:
      `${who(task)} tried to remove ${deviceWords(device)}, and the kernel refused with ENODEV, ` +
      `because ${who(parent?.remover)} was unregistering its parent ${parentName}. The device is removed with it.`,
  });
}

function checkTeardown(
  { event, device }: ObservedTransition,
  { world, report }: RuleContext,
): void {
  if (!device || device.unbinds < 2 || !device.parent?.unregisterBegan) return;
  // For a device whose lifecycle was not observed whole, events in between may be missing.
  if (world.qualityOf(device) !== 'observed') return;
  const { parent, parentName, remover } = device;
  const task = taskOf(event);
  report({
    device,
    parent,
    task,
    severity: 'critical',
    message:
      `${deviceWords(device)} is torn down twice, by ${who(remover)} and now by ${who(task)}, while ` +
      `${who(parent.remover)} unregisters its parent ${parentName}. One of them works with memory that ` +
      'the other has freed, or is about to.',
  });
}
