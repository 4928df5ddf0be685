import type { Device } from '../lifecycle/objects.ts';
import type { Rule, RuleContext } from './rule.ts';
import { probeFailsLeaking } from './story-mdev.ts';
import {
  createUnregistered,
  probeBeginsUnregistered,
  registers,
  removeReturns,
  unbindBegins,
} from './story-vfio.ts';
import { deviceWords, seconds, who } from './words.ts';

export const vfioNeverRegistered: Rule = {
  id: 'vfio-never-registered',
  title: 'A vfio_device was made, and neither registered nor freed',
  severity: 'warning',
  meaning:
    'The driver made a vfio_device for a device and left it at that. The device exists and takes its ' +
    'share of the hardware, but it has no group that a VMM could open, so nobody can use it. Most ' +
    'often the driver took the wrong way out of an error.',
  advice:
    'Remove the device and look at the log of the kernel for what its driver had to say about it. ' +
    'Report it to the makers of the driver with the evidence.',
  origin:
    'vfio/ccw: Use the new device life cycle helpers (Yi Liu, 2022): what vfio_init_device made has to ' +
    'be put on every way out; vfio_alloc_device() in include/linux/vfio.h',
  evidence: 'Who created the device, and when its vfio_device was made.',
  kernels: { from: [6, 1], because: 'a vfio_device comes to be by being registered' },
  provocation: {
    by: 'driver',
    how: 'A driver makes a vfio_device in its probe, does not register it, and reports success.',
  },
  basis: 'history',
  needs: ['vfio.register', 'vfio.register_emulated', 'vfio.release', 'mdev.probe'],
  needsStep: ['vfio.init'],
  on: {
    'vfio.register:end'({ device }, { resolve }) {
      if (device?.vfio === 'registered') resolve(device);
    },
    'vfio.register_emulated:end'({ device }, { resolve }) {
      if (device?.vfio === 'registered') resolve(device);
    },
    'vfio.release:begin'({ device }, { resolve }) {
      if (device) resolve(device);
    },
  },
  onClock(context) {
    const { world } = context;
    for (const device of world.devices) check(device, context);
    for (const device of world.unfreed) check(device, context);
  },
  examples: {
    fires: [
      {
        title: 'a driver that reports success and has registered nothing',
        tell(story) {
          createUnregistered(story, story.createEnters(story.parent()));
          story.wait(6);
        },
      },
      {
        title: 'removed after that, and not freed even then',
        tell(story) {
          const device = createUnregistered(story, story.createEnters(story.parent()));
          const removal = story.removeBegins(device, { idle: true });
          unbindBegins(story, removal);
          removeReturns(story, removal);
          story.wait(6);
        },
      },
    ],
    silent: [
      {
        title: 'registered and in use',
        tell(story) {
          story.open(story.create(story.parent()), { vm: story.createVm() });
          story.wait(10);
        },
      },
      {
        title: 'a driver that takes its time before it registers',
        tell(story) {
          const creation = probeBeginsUnregistered(story, story.createEnters(story.parent()));
          story.wait(20);
          registers(story, creation.device);
          story.createEnds(creation);
          story.wait(10);
        },
      },
      {
        title: 'made, and freed because the driver thought better of it',
        tell(story) {
          const creation = probeBeginsUnregistered(story, story.createEnters(story.parent()));
          story.freeVdev(creation.device);
          story.createEnds(creation);
          story.wait(10);
        },
      },
      {
        title: 'a create that fails and cleans up',
        tell(story) {
          story.probeFails(story.createEnters(story.parent()), 5);
          story.wait(10);
        },
      },
      {
        title: 'a create that fails and does not clean up: that is failed-create-leak',
        also: ['failed-create-leak'],
        tell(story) {
          probeFailsLeaking(story, story.createEnters(story.parent()), 'vfio_device');
          story.wait(10);
        },
      },
    ],
  },
};

function check(device: Device, { world, now, thresholds, report }: RuleContext): void {
  if (device.vfio !== 'initialised' || !device.hasVdev) return;
  // Its driver is not done with it, or has refused it.
  if (device.state === 'creating' || device.state === 'failed') return;
  const waited = now - device.initialisedAt;
  if (waited < thresholds.neverRegistered || world.qualityOf(device) !== 'observed') return;
  const made = device.creator ? `which ${who(device.creator)} created, ` : '';
  report({
    device,
    task: device.creator,
    lasting: true,
    says:
      `A vfio_device was made for ${deviceWords(device)}, ${made}${seconds(waited)} ago, and was ` +
      `neither registered nor freed since. Its driver is ${device.driver || 'not known'}.`,
  });
}
