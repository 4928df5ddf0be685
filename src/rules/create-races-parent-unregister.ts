import { ENODEV } from '../engine/errno.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, who } from '../engine/words.ts';
import { createReturns, probeEnds } from '../scenario/mdev.ts';
import type { Actor } from '../scenario/types.ts';

const CREATOR: Actor = { pid: 700, comm: 'mdevctl' };

export const createRacesParentUnregister: Rule = {
  id: 'create-races-parent-unregister',
  title: 'A device was created while its parent was being unregistered',
  severity: 'info',
  severityVaries: 'Critical when the kernel allowed the creation.',
  description:
    'A process created an mdev on a parent that was being unregistered. The kernel refuses it ' +
    'with ENODEV, unless it had begun early enough for the unregistration to wait for it. ' +
    'Until 2019 it could succeed in between: a device whose parent is gone, and which nothing ' +
    'removes. If a driver is called to set a device up after the removal of the others began, ' +
    'that bug is back.',
  remediation:
    'After ENODEV, only stop creating devices on that parent. If tools create devices and ' +
    'unload their driver at the same time, let one wait for the other. If the kernel allowed a ' +
    'creation, do not touch that device, plan a reboot, and report it with the evidence.',
  references:
    'vfio/mdev: Synchronize device create/remove with parent removal, its issue 1 (Parav Pandit, May ' +
    '2019); unreg_sem in mdev_device_create()',
  evidence: 'Both calls, the creation and the unregistration, with who made them.',
  provocation: {
    by: 'user',
    how:
      'Devices are created in a loop while the module of their driver is unloaded, repeatedly, ' +
      'until a creation falls in between.',
  },
  basis: 'state',
  needs: ['mdev.remove_child', 'mdev.parent.unregister'],
  on: {
    'mdev.create:end': checkRefusal,
    'mdev.probe:begin': checkAllowed,
  },
  examples: {
    fires: [
      {
        title: 'refused, because the unregistration had begun',
        run(scenario) {
          const parent = scenario.parent();
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.createFails(parent, ENODEV, { as: CREATOR });
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'its driver sets it up when the others have been removed',
        run(scenario) {
          const parent = scenario.parent();
          const first = scenario.create(parent);
          const creation = scenario.createEnters(parent, { as: CREATOR });
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.childRemoved(unregistering, first);
          scenario.createEnds(scenario.probeBegins(creation));
        },
      },
      {
        title: 'its driver sets it up when the parent is gone',
        run(scenario) {
          const parent = scenario.parent();
          const creation = scenario.createEnters(parent, { as: CREATOR });
          scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(parent));
          scenario.createEnds(scenario.probeBegins(creation));
        },
      },
    ],
    doesNotFire: [
      {
        title: 'it began before, so the unregistration waits for it and removes it as well',
        run(scenario) {
          const parent = scenario.parent();
          const first = scenario.create(parent);
          const creation = scenario.createBegins(parent, { as: CREATOR });
          const unregistering = scenario.parentUnregisterBegins(parent);
          const second = scenario.createEnds(creation);
          scenario.childRemoved(unregistering, first);
          scenario.childRemoved(unregistering, second);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'it came after the unregistration began and before that had its lock',
        run(scenario) {
          const parent = scenario.parent();
          const first = scenario.create(parent);
          const unregistering = scenario.parentUnregisterBegins(parent);
          const second = scenario.create(parent, { as: CREATOR });
          scenario.childRemoved(unregistering, second);
          scenario.childRemoved(unregistering, first);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'it is removed before its creator is back in user space',
        run(scenario) {
          const parent = scenario.parent();
          const creation = scenario.createBegins(parent, { as: CREATOR });
          const unregistering = scenario.parentUnregisterBegins(parent);
          probeEnds(scenario, creation);
          scenario.childRemoved(unregistering, creation.device);
          createReturns(scenario, creation);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'the driver itself refuses with ENODEV',
        also: ['create-failed'],
        run(scenario) {
          const parent = scenario.parent();
          const creation = scenario.createEnters(parent, { as: CREATOR });
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.probeFails(creation, ENODEV);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'another parent is unregistered',
        also: ['create-failed'],
        run(scenario) {
          const unregistering = scenario.parentUnregisterBegins(scenario.parent({ name: 'mdpy' }));
          const parent = scenario.parent();
          scenario.create(parent, { as: CREATOR });
          scenario.createFails(parent, ENODEV, { as: CREATOR });
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'the parent is registered again when the device is created',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.childRemoved(unregistering, device);
          scenario.parentUnregisterEnds(unregistering);
          scenario.create(scenario.parent(), { as: CREATOR });
        },
      },
    ],
  },
};

function checkRefusal(
  { event, device, parent }: ObservedTransition,
  { report }: RuleContext,
): void {
  // Once its driver's probe was called, the errno is that of its driver.
  if (event.ret !== -ENODEV || !device || device.probeBegan > 0) return;
  if (parent?.state !== 'unregistering' && parent?.state !== 'gone') return;
  report({
    device,
    parent,
    task: device.creator,
    message:
      `${who(device.creator)} asked for ${device.name} on ${device.parentName}, and the kernel refused ` +
      `with ENODEV, because ${who(parent.remover)} was unregistering that parent.`,
  });
}

/** From the removal of its first device on, the lock of the parent keeps creations out. */
function checkAllowed({ device }: ObservedTransition, { report }: RuleContext): void {
  if (device?.state !== 'creating' || device.createBegan === 0 || !device.parent) return;
  const { parent, parentName, creator } = device;
  if (parent.teardownBegan === 0 && parent.unregisteredAt === 0) return;
  const when = parent.unregisteredAt > 0 ? 'was gone' : 'was losing its devices';
  report({
    device,
    parent,
    task: creator,
    severity: 'critical',
    message:
      `${deviceWords(device)} is being created by ${who(creator)} although its parent ${parentName} ` +
      `${when}: ${who(parent.remover)} unregistered it. Nothing will remove this device, and the ` +
      'memory that it relies on is freed.',
  });
}
