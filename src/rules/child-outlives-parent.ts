import type { Device } from '../lifecycle/objects.ts';
import type { KernelVersion, Rule, Severity } from './rule.ts';
import { childRemovedUnfreed, removeUnfreed } from './story-mdev.ts';
import { deviceWords, seconds, who } from './words.ts';

export const childOutlivesParent: Rule = {
  id: 'child-outlives-parent',
  title: 'A removed device is not freed, and its parent is gone',
  severity: 'critical',
  severityVaries:
    'An error on kernels before 6.1, where to free the device does not touch its parent.',
  meaning:
    'A device was removed, but somebody keeps a reference on it, so it is not freed, and its parent has ' +
    'been unregistered meanwhile. When that reference is put, the kernel frees the device, and in ' +
    'doing so goes through its type to its parent, and from there to the driver. Whether they are ' +
    'still there by then is luck: if the driver has been unloaded, they are not. Until then its UUID ' +
    'stays taken.',
  advice:
    'Do not unload the driver, and do not register the parent anew. The driver is the first suspect: ' +
    'it, or something that it calls, has taken a reference with get_device() and not put it. Report it ' +
    'with the evidence, and reboot when it suits.',
  origin:
    'vfio/mdev: Synchronize device create/remove with parent removal (May 2019), where it was asked ' +
    'who keeps the parent for its children; mdev_device_release() in drivers/vfio/mdev/mdev_core.c, ' +
    'which uses type->parent->mdev_driver',
  evidence: 'The whole life of the device and the withdrawal of its parent, with who did what.',
  provocation: {
    by: 'driver',
    how:
      'A driver takes a reference on each mdev in its probe and puts it only when it is told to, long ' +
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
        lasting: true,
        severity: severityOn(host.kernel),
        says:
          `${who(parent.remover)} unregistered ${parent.name} ${seconds(since)} ago, and its device ` +
          `${deviceWords(device)}, which was removed, is still not freed: somebody has a reference ` +
          `on it. Its driver (${device.driver || 'unknown'}) is the first suspect.`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'removed with its parent, and not freed',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const unregistering = story.parentUnregisterBegins(parent);
          childRemovedUnfreed(story, unregistering, device);
          story.parentUnregisterEnds(unregistering);
          story.wait(3);
        },
      },
      {
        title: 'removed by somebody before its parent, and not freed',
        also: ['mdev-release-delayed'],
        tell(story) {
          const parent = story.parent();
          removeUnfreed(story, story.create(parent));
          story.wait(4);
          story.parentUnregisterEnds(story.parentUnregisterBegins(parent));
          story.wait(3);
        },
      },
      {
        title: 'its parent comes back under the same address, and it is still there',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const unregistering = story.parentUnregisterBegins(parent);
          childRemovedUnfreed(story, unregistering, device);
          story.parentUnregisterEnds(unregistering);
          story.parent({ name: parent.name, at: parent });
          story.wait(3);
        },
      },
    ],
    silent: [
      {
        title: 'freed while its parent is being unregistered',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const unregistering = story.parentUnregisterBegins(parent);
          story.childRemoved(unregistering, device);
          story.parentUnregisterEnds(unregistering);
          story.wait(3);
        },
      },
      {
        title: 'freed a moment after its parent is gone',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const unregistering = story.parentUnregisterBegins(parent);
          childRemovedUnfreed(story, unregistering, device);
          story.parentUnregisterEnds(unregistering);
          story.wait(1);
          story.freeMdev(device);
          story.wait(3);
        },
      },
      {
        title: 'not freed, but its parent is there: that is mdev-release-delayed',
        also: ['mdev-release-delayed'],
        tell(story) {
          removeUnfreed(story, story.create(story.parent()));
          story.wait(3);
        },
      },
      {
        title: 'nobody removed it: that is orphan-child',
        also: ['orphan-child'],
        tell(story) {
          const parent = story.parent();
          story.create(parent);
          story.parentUnregisterEnds(story.parentUnregisterBegins(parent));
          story.wait(3);
        },
      },
      {
        title: 'the UUID lives on another parent when its old one goes',
        tell(story) {
          const [old, other] = [story.parent(), story.parent({ name: 'mdpy' })];
          const device = story.create(old);
          story.remove(device);
          story.create(other, { uuid: device.uuid });
          story.parentUnregisterEnds(story.parentUnregisterBegins(old));
          story.wait(3);
        },
      },
    ],
  },
};

/** Its removal was done before the parent was gone, or its creation undone. @param goneAt of its parent */
function isLeftOver({ state, removedAt, removeBegan }: Device, goneAt: number): boolean {
  return goneAt > 0 && removeBegan < goneAt && (removedAt > 0 || state === 'removing');
}

function severityOn([major, minor]: KernelVersion): Severity {
  return major > 6 || (major === 6 && minor >= 1) ? 'critical' : 'error';
}
