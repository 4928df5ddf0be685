import { isInRemoveCallback } from '../engine/conditions.ts';
import type { Rule } from '../engine/rule.ts';
import { deviceWords, inParens, seconds, who } from '../engine/words.ts';
import { removeKeepingVdev, removeReturns, unregisterEnds } from '../scenario/vfio.ts';

export const releaseWaitStall: Rule = {
  id: 'release-wait-stall',
  title: 'A removal waits for a vfio_device that nobody frees',
  severity: 'error',
  description:
    'The driver has unregistered the device, so nobody has it open, but its remove callback ' +
    'does not return, and its vfio_device has not been freed. A driver that keeps its ' +
    'vfio_device in its own memory has to wait for the last reference on it, as vfio_ccw does; ' +
    'if somebody forgot to put one, it waits forever. The remover is blocked in the kernel, ' +
    'the UUID stays taken, and the parent cannot be unregistered.',
  remediation:
    'Check where the remover is blocked: its kernel stack is in the evidence. If it waits for ' +
    'a completion, a reference on the vfio_device was not put, and only a reboot helps; report ' +
    "it to the driver's vendor. If it talks to hardware, it may only be slow.",
  references:
    'vfio/ccw: Use the new device life cycle helpers (Yi Liu, 2022), which has its remove wait for its ' +
    'release',
  evidence: 'Who waits, since when, and where in the kernel.',
  blindSpot: 'What the driver waits for; the kernel stack of the remover shows it.',
  kernels: {
    where: { vfioDeviceIsCounted: true },
    because: 'the unregistration of a device frees its vfio_device, so no driver waits for that',
  },
  provocation: {
    by: 'driver',
    how:
      'A driver whose remove callback waits for the release of its vfio_device takes a ' +
      'reference on that and does not put it.',
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
      if (device.vfio !== 'unregistered' || !device.hasVdev || !isInRemoveCallback(device))
        continue;
      const waited = now - device.unregisteredAt;
      if (waited < thresholds.removeStall || world.qualityOf(device) !== 'observed') continue;
      report({
        device,
        task: device.remover,
        blocked: device.remover,
        ongoing: true,
        message:
          `The removal of ${deviceWords(device)} by ${who(device.remover)} has been waiting in the ` +
          `driver${inParens(device.driver)} for ${seconds(waited)} since the device was ` +
          'unregistered: nobody has it open, but its vfio_device has not been freed.',
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'a driver waits for a reference that nobody puts',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          unregisterEnds(scenario, device, { as: { pid: 700, comm: 'bash' } });
          scenario.wait(11);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the last reference is put after a while',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const removal = scenario.removeBegins(device);
          unregisterEnds(scenario, device);
          scenario.wait(5);
          scenario.freeVdev(device);
          removeReturns(scenario, removal);
          scenario.wait(20);
        },
      },
      {
        title: 'a process has the device open: that is remove-stall',
        also: ['remove-stall'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device);
          scenario.wait(20);
        },
      },
      {
        title: 'the driver returns all the same: that is vfio-release-missing',
        also: ['vfio-release-missing'],
        run(scenario) {
          removeKeepingVdev(scenario, scenario.create(scenario.parent()));
          scenario.wait(20);
        },
      },
      {
        title: 'slow only after it has freed its vfio_device: that is remove-stall',
        also: ['remove-stall'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.removeBegins(device);
          unregisterEnds(scenario, device);
          scenario.freeVdev(device);
          scenario.wait(20);
        },
      },
    ],
  },
};
