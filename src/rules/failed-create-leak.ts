import type { Moment } from '../lifecycle/moment.ts';
import type { Device } from '../lifecycle/objects.ts';
import { errnoName } from './errno.ts';
import type { Rule, RuleContext } from './rule.ts';
import { probeFailsLeaking } from './story-mdev.ts';
import { deviceWords, seconds, who } from './words.ts';

export const failedCreateLeak: Rule = {
  id: 'failed-create-leak',
  title: 'A creation failed and left something behind',
  severity: 'error',
  meaning:
    'A creation failed after its driver had begun to set the device up. All that was made for it ' +
    'should have been freed before the creator was told; here the mdev or its vfio_device was not. ' +
    'With the mdev its UUID stays taken, though there is no such device, and its place on the parent ' +
    'may be lost. With the vfio_device, memory is lost at each attempt, and a tool that tries again ' +
    'and again loses it fast.',
  advice:
    'Stop whoever tries again. The error path of the probe callback of the driver is where to look: ' +
    'each vfio_alloc_device() needs its vfio_put_device(), each get_device() its put_device(). Report ' +
    'it with the evidence. Only a reboot gives back what is lost.',
  origin:
    'The thread vfio: Add struct device to vfio_device, and vfio/mdev: Check globally for duplicate ' +
    'devices (May 2018), on what an error path has to undo; mdev_device_create() in ' +
    'drivers/vfio/mdev/mdev_core.c',
  evidence: 'Who asked for the device, what the kernel returned, and how far its driver had come.',
  kernels: {
    from: [6, 1],
    because: 'what the driver does for a creation comes before all that can be seen of it',
  },
  provocation: {
    by: 'driver',
    how: 'The probe of a driver fails after it took a reference that it does not put.',
  },
  basis: 'history',
  needs: ['mdev.probe', 'mdev.release', 'vfio.init', 'vfio.release'],
  on: {
    'mdev.create:end': checkVfio,
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
      const { createError, createFailedAt, parent } = device;
      if (createError === 0 || parent?.state === 'gone') continue;
      if (now - createFailedAt < thresholds.grace) continue;
      report({
        device,
        task: device.creator,
        lasting: true,
        says:
          `${told(device)} ${seconds(now - createFailedAt)} ago, and the mdev is still not freed: ` +
          `somebody has a reference on it. Its UUID stays taken. ${suspect(device)}`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'a driver took a reference on the mdev, failed, and did not put it',
        tell(story) {
          probeFailsLeaking(story, story.createEnters(story.parent()), 'mdev');
          story.wait(3);
        },
      },
      {
        title: 'a driver made a vfio_device, failed, and did not put it',
        tell(story) {
          probeFailsLeaking(story, story.createEnters(story.parent()), 'vfio_device');
        },
      },
    ],
    silent: [
      {
        title: 'a driver fails and cleans up',
        tell(story) {
          story.probeFails(story.createEnters(story.parent()), 5);
          story.wait(3);
        },
      },
      {
        title: 'refused before the driver was asked: there is nothing to free',
        tell(story) {
          story.createFails(story.parent(), 12);
          story.wait(3);
        },
      },
      {
        title: 'freed before the driver was asked',
        tell(story) {
          const creation = story.createEnters(story.parent());
          story.freeMdev(creation.device);
          story.event('mdev.create:end', creation.task, { ret: -12 });
          story.wait(3);
        },
      },
      {
        title: 'freed a moment after: somebody was just looking at it',
        tell(story) {
          const creation = story.createEnters(story.parent());
          probeFailsLeaking(story, creation, 'mdev');
          story.wait(1);
          story.freeMdev(creation.device);
          story.wait(3);
        },
      },
      {
        title: 'the next attempt under the same UUID works',
        tell(story) {
          const parent = story.parent();
          const creation = story.createEnters(parent);
          story.probeFails(creation, 5);
          story.create(parent, { uuid: creation.device.uuid });
          story.wait(3);
        },
      },
      {
        title: 'its parent is gone as well: that is child-outlives-parent',
        also: ['child-outlives-parent'],
        tell(story) {
          const parent = story.parent();
          probeFailsLeaking(story, story.createEnters(parent), 'mdev');
          story.parentUnregisterEnds(story.parentUnregisterBegins(parent));
          story.wait(3);
        },
      },
    ],
  },
};

/** Nobody but its driver knows of a vfio_device that is not registered, so no one frees it later. */
function checkVfio({ event, device }: Moment, { report }: RuleContext): void {
  if (event.ret >= 0 || !device || device.releasedAt === 0) return;
  if (device.vfio === 'none' || device.vfio === 'released') return;
  report({
    device,
    task: device.creator,
    says: `${told(device)}, and the vfio_device that was made for it was not freed. ${suspect(device)}`,
  });
}

function told(device: Device): string {
  const { creator, createError } = device;
  return `The creation of ${deviceWords(device)} by ${who(creator)} failed with ${errnoName(createError)}`;
}

function suspect({ driver }: Device): string {
  return `The first suspect is the error path of its driver (${driver || 'unknown'}).`;
}
