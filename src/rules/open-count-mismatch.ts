import type { Rule } from '../engine/rule.ts';
import { deviceWords, openers } from '../engine/words.ts';
import type { Device } from '../lifecycle/objects.ts';
import { mdevFromBefore } from '../scenario/mdev.ts';

export const openCountMismatch: Rule = {
  id: 'open-count-mismatch',
  title: "The kernel's open_count differs from the observed opens",
  severity: 'error',
  description:
    'The open_count of a vfio_device decides when its driver gets the first open and the last ' +
    'close, when its VM is captured and dropped, and whether it may be removed. It differs ' +
    'from the sum of the observed opens and closes: if it is too high, the device is never ' +
    'really closed; if it is too low, it is removed while it is used.',
  remediation:
    'Move what matters off this host, and report it with the evidence: the core counts under a ' +
    'lock, so either memory was overwritten, or a driver changes the count itself.',
  references:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), where it was settled that VMs are ' +
    'taken and put with open_count; vfio_df_open() and vfio_df_close() in drivers/vfio/vfio_main.c',
  evidence: 'Both counts, and who has the device open.',
  kernels: {
    where: { opensAreCounted: true },
    because: 'the kernel does not show how often a device is open',
  },
  provocation: {
    by: 'nothing',
    how: 'The core counts under a lock, and no driver has a reason to write to its count.',
  },
  basis: 'history',
  needs: ['vfio.device.open', 'vfio.device.close'],
  // Checked by the clock, because where opens run side by side, a sample may be later than its event.
  onClock({ world, report, resolve }) {
    for (const device of world.devices) {
      if (world.qualityOf(device) !== 'observed') continue;
      const seen = countOf(device);
      if (seen === undefined) continue;
      if (seen === device.openCount) {
        resolve(device);
        continue;
      }
      report({
        device,
        vm: device.vm,
        task: device.opens[0]?.task,
        ongoing: true,
        message:
          `The kernel counts ${times(device.openCount)} of ${deviceWords(device)}, but ` +
          `${seen || 'none'} ${seen > 1 ? 'were' : 'was'} observed that ${seen > 1 ? 'are' : 'is'} not closed` +
          `${seen > 0 ? `: by ${openers(device)}` : ''}.`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'a close that does not count',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          device.openCount++;
          scenario.close(open);
          scenario.wait(1);
        },
      },
      {
        title: 'a device that counts as closed while it is open',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          const [first] = [scenario.open(device, { vm }), scenario.open(device, { vm })];
          device.openCount--;
          scenario.close(first);
          scenario.wait(1);
        },
        also: ['nested-open'],
      },
    ],
    doesNotFire: [
      {
        title: 'opened and closed several times, also side by side',
        also: ['nested-open'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          const [first, second] = [scenario.open(device, { vm }), scenario.open(device, { vm })];
          scenario.wait(1);
          scenario.close(first);
          scenario.wait(1);
          scenario.open(device, { vm });
          scenario.close(second);
          scenario.wait(1);
        },
      },
      {
        title: 'an open is in progress: it may have been counted or not',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          const first = scenario.open(device, { vm });
          const second = scenario.openBegins(device, { vm });
          device.openCount++;
          scenario.close(first);
          scenario.wait(1);
          device.openCount--;
          scenario.openEnds(second);
          scenario.wait(1);
        },
      },
      {
        title: 'an open that fails does not count',
        also: ['open-failed'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.open(device, { vm });
          scenario.openEnds(scenario.openBegins(device, { vm }), { error: 22 });
          scenario.wait(1);
        },
      },
      {
        title: 'opens before the agent started are only in the count',
        also: ['nested-open'],
        run(scenario) {
          const device = mdevFromBefore(scenario.parent());
          device.openCount = 2;
          scenario.open(device);
          scenario.wait(1);
        },
      },
    ],
  },
};

/** How many observed opens are not closed; undefined while some are in progress, or were not observed. */
function countOf({ opens }: Device): number | undefined {
  for (const { state, adopted } of opens) if (state !== 'open' || adopted) return undefined;
  return opens.length;
}

function times(count: number): string {
  return count === 1 ? 'one open' : `${count || 'no'} opens`;
}
