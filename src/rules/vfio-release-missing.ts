import { isInRemoveCallback } from '../engine/conditions.ts';
import type { Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, inParens, seconds, who } from '../engine/words.ts';
import type { Device } from '../lifecycle/objects.ts';
import {
  createUnregistered,
  lose,
  removeKeepingVdev,
  removeReturns,
  unbindBegins,
  unregisterEnds,
} from '../scenario/vfio.ts';

export const vfioReleaseMissing: Rule = {
  id: 'vfio-release-missing',
  title: "An unregistered device's vfio_device is not freed",
  severity: 'error',
  description:
    'The device was unregistered from VFIO, and nobody has it open any more, but something ' +
    'holds a reference on its vfio_device, so its release callback is not called. What the ' +
    "driver frees there (the device's state, its share of the hardware) stays taken, and every " +
    'further device leaks the same. The vfio_device still points to the device that it stood ' +
    'for, which is gone: whoever uses or puts that reference later may touch memory that has ' +
    'been freed.',
  remediation:
    'Do not unload the driver while this lasts. Check it for a get_device() on its vfio_device ' +
    'without put_device(), or a remove callback that does not call vfio_put_device(). Report ' +
    'it with the evidence.',
  references:
    'vfio/ccw: Use the new device life cycle helpers (Yi Liu, 2022), on who waits for whose reference; ' +
    'vfio_device_release() in drivers/vfio/vfio_main.c',
  evidence: 'Who removed the device, and when it was unregistered.',
  blindSpot: 'Who holds the reference, because get_device() and put_device() are not traced.',
  kernels: {
    where: { vfioDeviceIsCounted: true },
    because: 'the unregistration of a device frees its vfio_device, whoever refers to it',
  },
  provocation: {
    by: 'driver',
    how: 'A driver takes a reference on its vfio_device and does not put it.',
  },
  basis: 'history',
  needs: ['vfio.unregister', 'mdev.unbind', 'mdev.release'],
  needsStep: ['vfio.init', 'vfio.release'],
  on: {
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
        title: 'a driver forgets a reference on it',
        run(scenario) {
          removeKeepingVdev(scenario, scenario.create(scenario.parent()));
          scenario.wait(3);
        },
      },
      {
        title: 'a PCI device is unbound, and its vfio_device stays',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          scenario.unbindPciBegins(device);
          unregisterEnds(scenario, device);
          scenario.wait(11);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'freed when the device is removed',
        run(scenario) {
          scenario.remove(scenario.create(scenario.parent()));
          scenario.wait(20);
        },
      },
      {
        title: 'a VMM that closes its file puts the last reference, after the device is gone',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          removeKeepingVdev(scenario, device);
          scenario.wait(1);
          scenario.freeVdev(device, { pid: 600, comm: 'qemu' });
          scenario.wait(20);
        },
      },
      {
        title:
          'freed while it was still being unregistered, which is too early: that is ' +
          'vfio-put-unbalanced',
        also: ['vfio-put-unbalanced'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          const removal = scenario.removeBegins(device);
          scenario.freeVdev(device);
          scenario.close(open);
          unregisterEnds(scenario, device);
          removeReturns(scenario, removal);
          scenario.wait(20);
        },
      },
      {
        title: 'the driver is still in its remove callback: that is release-wait-stall',
        also: ['release-wait-stall'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.removeBegins(device);
          unregisterEnds(scenario, device);
          scenario.wait(20);
        },
      },
      {
        title: 'the driver is slow after it has unregistered the device',
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
        title: 'the removal waits for those who have the device open',
        also: ['remove-stall'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device);
          scenario.wait(20);
        },
      },
      {
        title: 'allocated, never registered, and freed with its device',
        run(scenario) {
          const device = createUnregistered(scenario, scenario.createEnters(scenario.parent()));
          const removal = scenario.removeBegins(device, { idle: true });
          unbindBegins(scenario, removal);
          scenario.freeVdev(device);
          removeReturns(scenario, removal);
          scenario.wait(20);
        },
      },
      {
        title: 'events were lost, and its release may be among them',
        also: ['observer-gap'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          removeKeepingVdev(scenario, device);
          lose(scenario);
          scenario.wait(20);
        },
      },
    ],
  },
};

function check(device: Device, { world, now, thresholds, report }: RuleContext): void {
  if (device.vfio !== 'unregistered' || !device.hasVdev || isInRemoveCallback(device)) return;
  const waited = now - device.unregisteredAt;
  // The remove callback of a driver of another device than an mdev is not observed.
  const patience = device.isMdev ? thresholds.grace : thresholds.removeStall;
  if (waited < patience || world.qualityOf(device) !== 'observed') return;
  report({
    device,
    task: device.remover,
    ongoing: true,
    message:
      `${deviceWords(device)} was unregistered by ${who(device.remover)} ${seconds(waited)} ago, but its ` +
      `vfio_device has not been freed: something holds a reference on it. Check its driver` +
      `${inParens(device.driver)} first.`,
  });
}
