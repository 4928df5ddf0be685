import type { Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, driverSentence, seconds, who } from '../engine/words.ts';
import type { Device } from '../lifecycle/objects.ts';
import { inProgress } from '../lifecycle/operations.ts';
import { probeFailsLeaking } from '../scenario/mdev.ts';
import {
  createUnregistered,
  probeBeginsUnregistered,
  registers,
  removeReturns,
  unbindBegins,
} from '../scenario/vfio.ts';

export const vfioNeverRegistered: Rule = {
  id: 'vfio-never-registered',
  title: 'A vfio_device was neither registered nor freed',
  severity: 'warning',
  description:
    'The driver allocated a vfio_device for a device and did no more. The device exists and ' +
    'takes its share of the hardware, but it has no group that a VMM could open, so nobody can ' +
    'use it. Most often an error path of the driver is wrong.',
  remediation:
    'Remove the device, and read what its driver wrote to the kernel log. Report it to the ' +
    "driver's vendor with the evidence.",
  references:
    'vfio/ccw: Use the new device life cycle helpers (Yi Liu, 2022): what vfio_init_device() initialised has to ' +
    'be put on every way out; vfio_alloc_device() in include/linux/vfio.h',
  evidence: 'Who created the device, and when its vfio_device was allocated.',
  kernels: {
    where: { vfioDeviceIsCounted: true },
    because: 'registration creates the vfio_device',
  },
  provocation: {
    by: 'driver',
    how: 'A driver allocates a vfio_device in its probe, does not register it, and reports success.',
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
    const binding = new Set(inProgress(world, 'bind').map(({ device }) => device));
    for (const device of world.devices) if (!binding.has(device)) check(device, context);
    for (const device of world.unfreed) check(device, context);
  },
  examples: {
    fires: [
      {
        title: 'a driver that reports success and has registered nothing',
        run(scenario) {
          createUnregistered(scenario, scenario.createEnters(scenario.parent()));
          scenario.wait(6);
        },
      },
      {
        title: 'removed after that, and not freed even then',
        run(scenario) {
          const device = createUnregistered(scenario, scenario.createEnters(scenario.parent()));
          const removal = scenario.removeBegins(device, { idle: true });
          unbindBegins(scenario, removal);
          removeReturns(scenario, removal);
          scenario.wait(6);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'registered and in use',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
          scenario.wait(10);
        },
      },
      {
        title: 'a driver that is slow to register: that is create-stall',
        also: ['create-stall'],
        run(scenario) {
          const creation = probeBeginsUnregistered(
            scenario,
            scenario.createEnters(scenario.parent()),
          );
          scenario.wait(20);
          registers(scenario, creation.device);
          scenario.createEnds(creation);
          scenario.wait(10);
        },
      },
      {
        title: 'allocated, and freed because the driver changed its mind',
        run(scenario) {
          const creation = probeBeginsUnregistered(
            scenario,
            scenario.createEnters(scenario.parent()),
          );
          scenario.freeVdev(creation.device);
          scenario.createEnds(creation);
          scenario.wait(10);
        },
      },
      {
        title: 'a create that fails and cleans up',
        also: ['create-failed'],
        run(scenario) {
          scenario.probeFails(scenario.createEnters(scenario.parent()), 5);
          scenario.wait(10);
        },
      },
      {
        title: 'a create that fails and does not clean up: that is failed-create-leak',
        also: ['failed-create-leak', 'create-failed'],
        run(scenario) {
          probeFailsLeaking(scenario, scenario.createEnters(scenario.parent()), 'vfio_device');
          scenario.wait(10);
        },
      },
    ],
  },
};

function check(device: Device, { world, now, thresholds, report }: RuleContext): void {
  if (device.vfio !== 'initialised' || !device.hasVdev) return;
  // Its driver's probe has not returned, or has refused it.
  if (device.state === 'creating' || device.state === 'failed') return;
  const waited = now - device.initialisedAt;
  if (waited < thresholds.neverRegistered || world.qualityOf(device) !== 'observed') return;
  const creation = device.creator ? `which ${who(device.creator)} created, ` : '';
  report({
    device,
    task: device.creator,
    ongoing: true,
    message:
      `A vfio_device was initialised for ${deviceWords(device)}, ${creation}${seconds(waited)} ago, and was ` +
      `neither registered nor freed since.${driverSentence(device.driver)}`,
  });
}
