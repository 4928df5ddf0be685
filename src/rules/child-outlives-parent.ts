import type { Rule, Severity } from '../engine/rule.ts';
import { deviceWords, inParens, seconds, who } from '../engine/words.ts';
import type { Traits } from '../events/traits.ts';
import type { Device } from '../lifecycle/objects.ts';
import { childRemovedUnfreed, removeUnfreed } from '../scenario/mdev.ts';

export const childOutlivesParent: Rule = {
  id: 'child-outlives-parent',
  title: 'A removed device is not freed, and its parent is gone',
  severity: 'critical',
  severityVaries:
    'An error on kernels before 6.1, where freeing the device does not touch its parent.',
  description:
    'A device was removed, but something still holds a reference on it, so it is not freed, ' +
    'and its parent has been unregistered meanwhile. When that reference is put, the kernel ' +
    'frees the device, and in doing so follows its type to its parent, and from there to the ' +
    'driver. If the driver has been unloaded by then, that memory is gone. Until then the UUID ' +
    'stays taken.',
  remediation:
    'Do not unload the driver, and do not register the parent again. Reboot when it suits. ' +
    'Check the driver first: it, or something that it calls, has taken a reference with ' +
    'get_device() and not put it. Report it with the evidence.',
  references:
    'vfio/mdev: Synchronize device create/remove with parent removal (May 2019), where it was asked ' +
    'who keeps the parent for its children; mdev_device_release() in drivers/vfio/mdev/mdev_core.c, ' +
    'which uses type->parent->mdev_driver',
  evidence:
    'The whole lifecycle of the device and the unregistration of its parent, with who did what.',
  blindSpot: 'Who holds the reference, because get_device() and put_device() are not traced.',
  traits: ['parentBelongsToDriver'],
  provocation: {
    by: 'driver',
    how:
      'A driver takes a reference on each mdev in its probe and puts it only on request, long ' +
      'after its parent has been unregistered.',
  },
  basis: 'state',
  needs: [
    'mdev.probe',
    'mdev.unbind',
    'mdev.remove',
    'mdev.remove_child',
    'mdev.parent.unregister',
  ],
  on: {
    'mdev.release:begin'({ device }, { resolve }) {
      if (device) resolve(device);
    },
  },
  onClock({ world, host, now, thresholds, report }) {
    for (const device of world.devices) {
      const { parent } = device;
      if (!parent || !isLeftOver(device, parent.unregisteredAt)) continue;
      const since = now - parent.unregisteredAt;
      if (since < thresholds.grace) continue;
      report({
        device,
        parent,
        task: parent.remover,
        ongoing: true,
        severity: severityOn(host.traits),
        message:
          `${who(parent.remover)} unregistered ${parent.name} ${seconds(since)} ago, and its device ` +
          `${deviceWords(device)}, which was removed, is still not freed: something holds a reference ` +
          `on it. Check its driver${inParens(device.driver)} first.`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'removed with its parent, and not freed',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const unregistering = scenario.parentUnregisterBegins(parent);
          childRemovedUnfreed(scenario, unregistering, device);
          scenario.parentUnregisterEnds(unregistering);
          scenario.wait(3);
        },
      },
      {
        title: 'removed by a user before its parent, and not freed',
        also: ['mdev-release-delayed'],
        run(scenario) {
          const parent = scenario.parent();
          removeUnfreed(scenario, scenario.create(parent));
          scenario.wait(4);
          scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(parent));
          scenario.wait(3);
        },
      },
      {
        title: 'its parent comes back under the same address, and it still exists',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const unregistering = scenario.parentUnregisterBegins(parent);
          childRemovedUnfreed(scenario, unregistering, device);
          scenario.parentUnregisterEnds(unregistering);
          scenario.parent({ name: parent.name, at: parent });
          scenario.wait(3);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'freed while its parent is being unregistered',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.childRemoved(unregistering, device);
          scenario.parentUnregisterEnds(unregistering);
          scenario.wait(3);
        },
      },
      {
        title: 'freed shortly after its parent is gone',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const unregistering = scenario.parentUnregisterBegins(parent);
          childRemovedUnfreed(scenario, unregistering, device);
          scenario.parentUnregisterEnds(unregistering);
          scenario.wait(1);
          scenario.freeMdev(device);
          scenario.wait(3);
        },
      },
      {
        title: 'not freed, but its parent exists: that is mdev-release-delayed',
        also: ['mdev-release-delayed'],
        run(scenario) {
          removeUnfreed(scenario, scenario.create(scenario.parent()));
          scenario.wait(3);
        },
      },
      {
        title: 'nobody removed it: that is orphan-child',
        also: ['orphan-child'],
        run(scenario) {
          const parent = scenario.parent();
          scenario.create(parent);
          scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(parent));
          scenario.wait(3);
        },
      },
      {
        title: 'the UUID is in use on another parent when its old parent is unregistered',
        run(scenario) {
          const [old, other] = [scenario.parent(), scenario.parent({ name: 'mdpy' })];
          const device = scenario.create(old);
          scenario.remove(device);
          scenario.create(other, { uuid: device.uuid });
          scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(old));
          scenario.wait(3);
        },
      },
    ],
  },
};

/** It was removed, or its creation was undone, before its parent was gone. @param goneAt of its parent */
function isLeftOver({ state, removedAt, removeBegan }: Device, goneAt: number): boolean {
  return goneAt > 0 && removeBegan < goneAt && (removedAt > 0 || state === 'removing');
}

function severityOn({ parentBelongsToDriver }: Traits): Severity {
  return parentBelongsToDriver ? 'critical' : 'error';
}
