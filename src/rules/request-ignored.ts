import { heldOpen, stuckHolders } from '../engine/holder-words.ts';
import type { Rule } from '../engine/rule.ts';
import { deviceWords, seconds, who } from '../engine/words.ts';

export const requestIgnored: Rule = {
  id: 'request-ignored',
  title: 'A VMM does not release a device that its driver requested',
  severity: 'warning',
  description:
    'A device is being unregistered, and its driver asks those who have it open to release it: ' +
    'at once, and again every ten seconds. QEMU answers by unplugging the device, which its ' +
    'guest has to agree to. After several requests nobody has: the VMM does not listen (it ' +
    'never registered for requests, as userspace drivers often do not), it hangs, or its guest ' +
    'ignores the unplugging. The process that unregisters the device stays blocked in the ' +
    'kernel.',
  remediation:
    "Unplug the device over the VMM's management interface, or stop the VM. Check whether the " +
    'VMM that the message names still answers, and whether its guest has a driver that can ' +
    'release a device. If that process waits for the lock of the device, killing it does not help.',
  references:
    'vfio_unregister_group_dev() in drivers/vfio/vfio_main.c, which calls the request callback of the ' +
    'driver each time that it has waited for ten seconds',
  evidence:
    'Who has the device open, for which VM, what that process waits for, and who waits for it.',
  blindSpot:
    'Whether the guest ignores the unplugging or the VMM does; a driver without a request ' +
    'callback is left to remove-stall.',
  kernels: {
    where: { callbacksAreDescribed: true },
    because: 'nothing describes the callbacks of a driver to the agent where modules have no BTF',
  },
  provocation: {
    by: 'user',
    how:
      'A PCI device is unbound from vfio-pci while a process has it open that does not listen ' +
      'to its requests.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close'],
  on: {
    'vfio.unregister:end'({ device }, { resolve }) {
      if (device) resolve(device);
    },
  },
  onClock({ world, host, now, thresholds, report }) {
    for (const device of world.devices) {
      if (!device.asksUsers || !device.isWaiting) continue;
      const waited = now - device.unregisterBegan;
      if (waited < thresholds.requestIgnored) continue;
      report({
        device,
        vm: device.vm,
        task: device.opens[0]?.task,
        blocked: device.remover,
        ongoing: true,
        message: (attribution) =>
          `${deviceWords(device)} ${heldOpen(device, attribution.holders, now)}, although its ` +
          `driver has been requesting its release for ${seconds(waited)}. ` +
          `${who(device.remover)} waits for it.${stuckHolders(attribution, host)}`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'a VMM that does not listen keeps a passed-through device',
        also: ['remove-stall'],
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          scenario.open(device, { vm: scenario.createVm() });
          scenario.unbindPciBegins(device);
          scenario.wait(31);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the guest is slow to release it, but does',
        also: ['remove-stall'],
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          const open = scenario.open(device, { vm: scenario.createVm() });
          scenario.unbindPciBegins(device);
          scenario.wait(25);
          scenario.close(open);
          scenario.unbindPciEnds(device);
          scenario.wait(30);
        },
      },
      {
        title: 'nobody was asked, for the driver has no request callback: that is remove-stall',
        also: ['remove-stall'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.wait(60);
        },
      },
      {
        title: 'in use for long, and nobody requests it',
        run(scenario) {
          const device = scenario.bindPci('0000:01:00.0');
          scenario.open(device, { vm: scenario.createVm() });
          scenario.wait(60);
        },
      },
      {
        title: 'another device of the same VMM is unregistered and nobody has that one open',
        run(scenario) {
          const [kept, other] = [
            scenario.bindPci('0000:01:00.0'),
            scenario.bindPci('0000:02:00.0'),
          ];
          scenario.open(kept, { vm: scenario.createVm() });
          scenario.unbindPciBegins(other);
          scenario.unbindPciEnds(other);
          scenario.wait(60);
        },
      },
    ],
  },
};
