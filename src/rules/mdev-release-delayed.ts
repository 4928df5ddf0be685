import type { Rule } from './rule.ts';
import { childRemovedUnfreed, mdevFromBefore, removeUnfreed } from './story-mdev.ts';
import { deviceWords, seconds, who } from './words.ts';

export const mdevReleaseDelayed: Rule = {
  id: 'mdev-release-delayed',
  title: 'A removed device is not freed',
  severity: 'error',
  meaning:
    'The removal of an mdev has ended, and it should have been freed by then. It is not: somebody has ' +
    'taken a reference on it and does not put it. Its UUID stays taken, so it cannot be created again, ' +
    'and on most drivers its place on the parent is lost. When its parent is unregistered, the memory ' +
    'that the device still refers to goes: see child-outlives-parent.',
  advice:
    'The driver is the first suspect: somewhere it, or something that it calls, has called ' +
    'get_device() and not put_device(). Report it with the evidence. An open file in sysfs does not ' +
    'do this. Avoid to unload the driver; only a reboot frees the device if the reference is lost.',
  origin:
    'vfio/mdev: Improve the create/remove sequence (2019), whose last step is to put the last reference ' +
    'on the device; mdev_device_remove_common() in drivers/vfio/mdev/mdev_core.c',
  evidence: 'The whole life of the device, who removed it and when, and its driver.',
  provocation: {
    by: 'driver',
    how: 'A driver takes a reference on each mdev in its probe, and puts it only when it is told to.',
  },
  basis: 'state',
  needs: ['mdev.probe', 'mdev.remove', 'mdev.remove_child'],
  on: {
    'mdev.release:begin'({ device }, { resolve }) {
      if (device) resolve(device);
    },
    'mdev.parent.unregister:end'({ parent }, { resolve }) {
      // From now on that is child-outlives-parent.
      for (const device of parent?.devices ?? []) resolve(device);
    },
  },
  onClock({ world, now, thresholds, report }) {
    for (const device of world.devices) {
      const { removedAt, remover, parent } = device;
      if (removedAt === 0 || parent?.state === 'gone') continue;
      if (now - removedAt < thresholds.grace) continue;
      report({
        device,
        task: remover,
        lasting: true,
        says:
          `${who(remover)} removed ${deviceWords(device)} ${seconds(now - removedAt)} ago, and it is ` +
          `still not freed: somebody has a reference on it. Its driver (${device.driver || 'unknown'}) ` +
          'is the first suspect.',
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'a driver has taken a reference and does not put it',
        tell(story) {
          removeUnfreed(story, story.create(story.parent()));
          story.wait(3);
        },
      },
      {
        title: 'the withdrawal of its parent has come past it, and waits for another device',
        tell(story) {
          const parent = story.parent();
          const [first, second] = [story.create(parent), story.create(parent)];
          const unregistering = story.parentUnregisterBegins(parent);
          childRemovedUnfreed(story, unregistering, first);
          story.wait(3);
          story.childRemoved(unregistering, second);
        },
      },
    ],
    silent: [
      {
        title: 'freed before its removal ends, as it should be',
        tell(story) {
          story.remove(story.create(story.parent()));
          story.wait(3);
        },
      },
      {
        title: 'freed a moment later: somebody was just looking at it',
        tell(story) {
          const device = story.create(story.parent());
          removeUnfreed(story, device);
          story.wait(1);
          story.freeMdev(device);
          story.wait(3);
        },
      },
      {
        title: 'its removal waits for an opener, so it has not ended',
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          story.wait(5);
        },
      },
      {
        title: 'one from before the agent is removed and freed',
        tell(story) {
          story.remove(mdevFromBefore(story.parent()));
          story.wait(3);
        },
      },
      {
        title: 'its parent is gone as well: that is child-outlives-parent',
        also: ['child-outlives-parent'],
        tell(story) {
          const parent = story.parent();
          removeUnfreed(story, story.create(parent));
          story.parentUnregisterEnds(story.parentUnregisterBegins(parent));
          story.wait(3);
        },
      },
      {
        title: 'created anew under its UUID',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          story.remove(device);
          story.create(parent, { uuid: device.uuid });
          story.wait(3);
        },
      },
    ],
  },
};
