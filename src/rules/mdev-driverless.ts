import type { Moment } from '../lifecycle/moment.ts';
import type { Device } from '../lifecycle/objects.ts';
import type { KernelVersion, Rule, RuleContext } from './rule.ts';
import { bind, createEndsDespiteRefusal, createReturns, probeEnds, unbind } from './story-mdev.ts';
import { deviceWords, who } from './words.ts';

export const mdevDriverless: Rule = {
  id: 'mdev-driverless',
  title: 'A device has no driver',
  severity: 'warning',
  meaning:
    'An mdev is on its bus and no driver serves it, so it cannot be opened. Mostly somebody has ' +
    'unbound it in sysfs, as one does with PCI devices. For mdevs that is one-way since Linux 6.1: the ' +
    'bus matches no driver to a device that is there, so `bind` fails with ENODEV, and the device ' +
    'holds its place on the parent for nothing until it is removed. On 5.10 it may also have been ' +
    'created without a driver: a creation succeeds there when vfio_mdev is not loaded, or refuses.',
  advice:
    'Remove the device and create it anew. On 5.10 it can be bound again, through ' +
    '/sys/bus/mdev/drivers/vfio_mdev/bind, once vfio_mdev is loaded. Keep tools that rebind devices ' +
    'away from mdevs.',
  origin: 'mdev_match() and mdev_remove() in drivers/vfio/mdev/mdev_driver.c',
  evidence: 'When its driver let go of it, in which task, and who created it.',
  provocation: {
    by: 'user',
    how: 'The UUID of a device is written to the unbind file of its driver.',
  },
  basis: 'state',
  needs: ['mdev.probe', 'mdev.unbind', 'mdev.remove', 'mdev.remove_child', 'mdev.release'],
  on: {
    'mdev.probe:end'({ event, device }, { resolve }) {
      if (device && event.ret === 0) resolve(device);
    },
    'mdev.create:end': checkCreation,
  },
  onClock({ world, host, now, thresholds, report }) {
    for (const device of world.devices) {
      if (device.state !== 'unbound' || device.removedAt > 0) continue;
      if (now - driverlessSince(device) < thresholds.grace) continue;
      // Its parent takes it along.
      if (device.parent?.state === 'unregistering') continue;
      report({
        device,
        task: device.creator,
        lasting: true,
        says:
          `${deviceWords(device)} has no driver: ${howItCame(device)}. It cannot be opened` +
          `${isOneWay(host.kernel) ? ', nor be bound again; it can only be removed' : ' until it is bound'}.`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'unbound in sysfs',
        tell(story) {
          unbind(story, story.create(story.parent()));
          story.wait(3);
        },
      },
      {
        title: '5.10: created although its driver refused it',
        tell(story) {
          createEndsDespiteRefusal(story, story.createEnters(story.parent()));
          story.wait(3);
        },
      },
      {
        title: '5.10: created while vfio_mdev was not loaded',
        tell(story) {
          createReturns(story, story.createEnters(story.parent()));
        },
      },
    ],
    silent: [
      {
        title: 'removed: its driver lets go of it, and it goes',
        tell(story) {
          story.remove(story.create(story.parent()));
          story.wait(3);
        },
      },
      {
        title: 'removed with its parent',
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
        title: 'unbound, and removed right away',
        tell(story) {
          const device = story.create(story.parent());
          unbind(story, device);
          const removal = story.removeBegins(device, { idle: true });
          story.freeMdev(device);
          story.removeEnds(removal);
          story.wait(3);
        },
      },
      {
        title: '5.10: unbound, and bound again',
        tell(story) {
          const device = story.create(story.parent());
          unbind(story, device);
          story.wait(1);
          bind(story, device);
          story.wait(3);
        },
      },
      {
        title: 'its driver takes its time to set it up',
        tell(story) {
          const creation = story.createBegins(story.parent());
          story.wait(9);
          story.createEnds(creation);
        },
      },
      {
        title: 'removed before its creator is back in user space',
        tell(story) {
          const creation = story.createBegins(story.parent());
          probeEnds(story, creation);
          story.remove(creation.device, { as: { pid: 700, comm: 'bash' } });
          createReturns(story, creation);
          story.wait(3);
        },
      },
      {
        title: 'its driver refuses it, and its creation fails',
        tell(story) {
          story.probeFails(story.createEnters(story.parent()), 5);
          story.wait(3);
        },
      },
    ],
  },
};

/** Of one that was never set up, no event of its own tells, so it is told at once. */
function checkCreation({ event, device }: Moment, { world, report }: RuleContext): void {
  if (event.ret !== 0 || !device || device.probeBegan > 0) return;
  // That it was set up may be among the events that were lost.
  if (world.qualityOf(device) !== 'observed') return;
  report({
    device,
    task: device.creator,
    says:
      `${who(device.creator)} created ${deviceWords(device)}, and no driver was there to serve it. It ` +
      'cannot be opened until one takes it.',
  });
}

/** Of one that was found so, since it was found. */
function driverlessSince({ unboundAt, createdAt, firstSeen }: Device): number {
  return Math.max(unboundAt, createdAt, firstSeen);
}

function howItCame({ unboundAt, probeError }: Device): string {
  if (unboundAt > 0) return 'it was unbound and nobody removed it';
  return probeError > 0 ? 'its driver refused it when it was created' : 'it was found so';
}

/** Since the bus matches no driver to a device that is there. */
function isOneWay([major, minor]: KernelVersion): boolean {
  return major > 6 || (major === 6 && minor >= 1);
}
