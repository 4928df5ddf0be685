import type { Device } from '../lifecycle/objects.ts';
import type { Rule } from './rule.ts';
import { removeKeepingVdev, removeReturns, unregisterEnds } from './story-vfio.ts';
import { deviceWords, seconds, who } from './words.ts';

export const releaseWaitStall: Rule = {
  id: 'release-wait-stall',
  title: 'A removal waits for a vfio_device that nobody frees',
  severity: 'error',
  meaning:
    'The driver has withdrawn the device, so nobody has it open, and still does not return from its ' +
    'remove callback, nor was its vfio_device freed. A driver that keeps its vfio_device in memory of ' +
    'its own has to wait for the last reference on it, as vfio_ccw does; if somebody forgot to put ' +
    'one, it waits for ever. The remover is blocked in the kernel, the UUID stays taken, and the ' +
    'parent cannot be unregistered.',
  advice:
    'Look at where the remover is blocked: its kernel stack is in the evidence. If it waits for a ' +
    'completion, a reference on the vfio_device was not put, and only a reboot helps; report it to the ' +
    'makers of the driver. If it talks to hardware, it may only be slow.',
  origin:
    'vfio/ccw: Use the new device life cycle helpers (Yi Liu, 2022), which has its remove wait for its ' +
    'release',
  evidence: 'Who waits, since when, and where in the kernel.',
  kernels: {
    from: [6, 1],
    because: 'to withdraw a device frees its vfio_device, so no driver waits for that',
  },
  provocation: {
    by: 'driver',
    how:
      'A driver whose remove waits for the release of its vfio_device takes a reference on that and ' +
      'does not put it.',
  },
  basis: 'history',
  needs: ['vfio.unregister', 'mdev.unbind'],
  needsStep: ['vfio.init', 'vfio.release'],
  on: {
    'vfio.release:begin'({ device }, { resolve }) {
      if (device) resolve(device);
    },
    'mdev.unbind:end'({ device }, { resolve }) {
      if (device) resolve(device);
    },
  },
  onClock({ world, now, thresholds, report }) {
    for (const device of world.devices) {
      if (device.vfio !== 'unregistered' || !device.hasVdev || !isInRemove(device)) continue;
      const waited = now - device.unregisteredAt;
      if (waited < thresholds.removeStall || world.qualityOf(device) !== 'observed') continue;
      report({
        device,
        task: device.remover,
        blocked: device.remover,
        lasting: true,
        says:
          `The removal of ${deviceWords(device)} by ${who(device.remover)} has been waiting in the ` +
          `driver (${device.driver || 'not known'}) for ${seconds(waited)} since the device was ` +
          'withdrawn: nobody has it open, but its vfio_device has not been freed.',
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'a driver waits for a reference that nobody puts',
        tell(story) {
          const device = story.create(story.parent());
          story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          unregisterEnds(story, device, { as: { pid: 700, comm: 'bash' } });
          story.wait(11);
        },
      },
    ],
    silent: [
      {
        title: 'the last reference is put after a while',
        tell(story) {
          const device = story.create(story.parent());
          const removal = story.removeBegins(device);
          unregisterEnds(story, device);
          story.wait(5);
          story.freeVdev(device);
          removeReturns(story, removal);
          story.wait(20);
        },
      },
      {
        title: 'somebody has the device open: that is remove-stall',
        also: ['remove-stall'],
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device);
          story.wait(20);
        },
      },
      {
        title: 'the driver returns all the same: that is vfio-release-missing',
        also: ['vfio-release-missing'],
        tell(story) {
          removeKeepingVdev(story, story.create(story.parent()));
          story.wait(20);
        },
      },
      {
        title: 'slow only after it has freed its vfio_device',
        tell(story) {
          const device = story.create(story.parent());
          story.removeBegins(device);
          unregisterEnds(story, device);
          story.freeVdev(device);
          story.wait(20);
        },
      },
    ],
  },
};

/** Its driver has been told to let go of it, and has not returned; known of mdevs only. */
export function isInRemove({ unbindBegan, unboundAt }: Device): boolean {
  return unbindBegan > unboundAt;
}
