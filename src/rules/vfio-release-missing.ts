import type { Device } from '../lifecycle/objects.ts';
import { isInRemove } from './release-wait-stall.ts';
import type { Rule, RuleContext } from './rule.ts';
import {
  createUnregistered,
  lose,
  removeKeepingVdev,
  removeReturns,
  unbindBegins,
  unregisterEnds,
} from './story-vfio.ts';
import { deviceWords, seconds, who } from './words.ts';

export const vfioReleaseMissing: Rule = {
  id: 'vfio-release-missing',
  title: 'A device was withdrawn, but its vfio_device is not freed',
  severity: 'error',
  meaning:
    'The device was taken out of VFIO, and nobody has it open any more, but somebody keeps a reference ' +
    'on its vfio_device, so its release callback is not called. What the driver frees there (the ' +
    "device's state, its share of the hardware) stays taken, and every further device leaks the same. " +
    'The vfio_device still points to the device that it stood for, which is gone: whoever uses or puts ' +
    'that reference later may touch memory that has been freed.',
  advice:
    'Look at the driver: a get_device() on its vfio_device without put_device(), or a remove callback ' +
    'that does not call vfio_put_device(). Do not unload it while this lasts. Report it with the ' +
    'evidence.',
  origin:
    'vfio/ccw: Use the new device life cycle helpers (Yi Liu, 2022), on who waits for whose reference; ' +
    'vfio_device_release() in drivers/vfio/vfio_main.c',
  evidence: 'Who removed the device, and when it was withdrawn.',
  kernels: {
    from: [6, 1],
    because: 'to withdraw a device frees its vfio_device, whoever refers to it',
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
        tell(story) {
          removeKeepingVdev(story, story.create(story.parent()));
          story.wait(3);
        },
      },
      {
        title: 'a PCI device is unbound, and its vfio_device stays',
        tell(story) {
          const device = story.bindPci('0000:01:00.0');
          story.unbindPciBegins(device);
          unregisterEnds(story, device);
          story.wait(11);
        },
      },
    ],
    silent: [
      {
        title: 'freed when the device is removed',
        tell(story) {
          story.remove(story.create(story.parent()));
          story.wait(20);
        },
      },
      {
        title: 'a VMM that closes its file puts the last reference, after the device is gone',
        tell(story) {
          const device = story.create(story.parent());
          removeKeepingVdev(story, device);
          story.wait(1);
          story.freeVdev(device, { pid: 600, comm: 'qemu' });
          story.wait(20);
        },
      },
      {
        title:
          'freed while it was still being withdrawn, which is too early: that is vfio-put-unbalanced',
        also: ['vfio-put-unbalanced'],
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          const removal = story.removeBegins(device);
          story.freeVdev(device);
          story.close(open);
          unregisterEnds(story, device);
          removeReturns(story, removal);
          story.wait(20);
        },
      },
      {
        title: 'the driver is still in its remove callback: that is release-wait-stall',
        also: ['release-wait-stall'],
        tell(story) {
          const device = story.create(story.parent());
          story.removeBegins(device);
          unregisterEnds(story, device);
          story.wait(20);
        },
      },
      {
        title: 'the driver takes its time after it has withdrawn the device',
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
        title: 'the removal waits for those who have the device open',
        also: ['remove-stall'],
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device);
          story.wait(20);
        },
      },
      {
        title: 'made, never registered, and freed with its device',
        tell(story) {
          const device = createUnregistered(story, story.createEnters(story.parent()));
          const removal = story.removeBegins(device, { idle: true });
          unbindBegins(story, removal);
          story.freeVdev(device);
          removeReturns(story, removal);
          story.wait(20);
        },
      },
      {
        title: 'events were lost, and its release may be among them',
        also: ['observer-gap'],
        tell(story) {
          const device = story.create(story.parent());
          removeKeepingVdev(story, device);
          lose(story);
          story.wait(20);
        },
      },
    ],
  },
};

function check(device: Device, { world, now, thresholds, report }: RuleContext): void {
  if (device.vfio !== 'unregistered' || !device.hasVdev || isInRemove(device)) return;
  const waited = now - device.unregisteredAt;
  // What the driver of another device than an mdev is about after that is not seen.
  const patience = device.isMdev ? thresholds.grace : thresholds.removeStall;
  if (waited < patience || world.qualityOf(device) !== 'observed') return;
  report({
    device,
    task: device.remover,
    lasting: true,
    says:
      `${deviceWords(device)} was withdrawn by ${who(device.remover)} ${seconds(waited)} ago, but its ` +
      `vfio_device has not been freed: somebody keeps a reference on it. The first suspect is its ` +
      `driver, ${device.driver || 'which is not known'}.`,
  });
}
