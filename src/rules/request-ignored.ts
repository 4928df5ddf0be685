import type { Rule } from './rule.ts';
import { deviceWords, openers, seconds, who } from './words.ts';

/** How long the kernel waits before it asks again, s. */
const ASKS_EVERY = 10;

export const requestIgnored: Rule = {
  id: 'request-ignored',
  title: 'A VMM was asked to let go of a device and does not',
  severity: 'warning',
  meaning:
    'A device is being withdrawn, and its driver asks those who have it open to give it back: at ' +
    'once, and again every ten seconds. QEMU answers by unplugging the device, which its guest has to ' +
    'agree to. After several requests nobody has: the VMM does not listen (it never asked to be told, ' +
    'as userspace drivers often do not), it hangs, or its guest ignores the unplugging. The one who ' +
    'withdraws the device stays blocked in the kernel.',
  advice:
    'Look at the VMM that is named here: whether it still answers, and whether its guest has a driver ' +
    'that lets a device go. Unplug the device over its management interface, or stop the VM.',
  origin:
    'vfio_unregister_group_dev() in drivers/vfio/vfio_main.c, which calls the request callback of the ' +
    'driver each time that it has waited for ten seconds',
  evidence:
    'Who has the device open, for which VM, who waits for it, and how often it was asked for.',
  kernels: {
    from: [5, 11],
    because: 'nothing describes the callbacks of a driver to the agent where modules have no BTF',
  },
  provocation: {
    by: 'user',
    how:
      'A PCI device is unbound from vfio-pci while a process has it open that does not listen to ' +
      'its requests.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close'],
  on: {
    'vfio.unregister:end'({ device }, { resolve }) {
      if (device) resolve(device);
    },
  },
  onClock({ world, now, thresholds, report }) {
    for (const device of world.devices) {
      if (!device.asksUsers || !device.isWaiting) continue;
      const waited = now - device.unregisterBegan;
      if (waited < thresholds.requestIgnored) continue;
      const times = 1 + Math.floor(waited / (ASKS_EVERY * 1e9));
      report({
        device,
        vm: device.vm,
        task: device.opens[0]?.task,
        blocked: device.remover,
        lasting: true,
        says:
          `${deviceWords(device)} is still held open by ${openers(device)}, although its driver has ` +
          `asked for it ${times} times in ${seconds(waited)}. ${who(device.remover)} waits for it.`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'a VMM that does not listen keeps a passed-through device',
        also: ['remove-stall'],
        tell(story) {
          const device = story.bindPci('0000:01:00.0');
          story.open(device, { vm: story.createVm() });
          story.unbindPciBegins(device);
          story.wait(31);
        },
      },
    ],
    silent: [
      {
        title: 'the guest takes its time to let go, but does',
        also: ['remove-stall'],
        tell(story) {
          const device = story.bindPci('0000:01:00.0');
          const open = story.open(device, { vm: story.createVm() });
          story.unbindPciBegins(device);
          story.wait(25);
          story.close(open);
          story.unbindPciEnds(device);
          story.wait(30);
        },
      },
      {
        title: 'nobody was asked, for the driver has no way to: that is remove-stall',
        also: ['remove-stall'],
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          story.wait(60);
        },
      },
      {
        title: 'in use for long, and nobody wants it back',
        tell(story) {
          const device = story.bindPci('0000:01:00.0');
          story.open(device, { vm: story.createVm() });
          story.wait(60);
        },
      },
      {
        title: 'another device of the same VMM is withdrawn and nobody has that one open',
        tell(story) {
          const [kept, other] = [story.bindPci('0000:01:00.0'), story.bindPci('0000:02:00.0')];
          story.open(kept, { vm: story.createVm() });
          story.unbindPciBegins(other);
          story.unbindPciEnds(other);
          story.wait(60);
        },
      },
    ],
  },
};
