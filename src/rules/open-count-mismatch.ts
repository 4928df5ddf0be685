import type { Device } from '../lifecycle/objects.ts';
import type { Rule } from './rule.ts';
import { mdevFromBefore } from './story-mdev.ts';
import { deviceWords, openers } from './words.ts';

export const openCountMismatch: Rule = {
  id: 'open-count-mismatch',
  title: 'The kernel counts other opens of a device than there were',
  severity: 'error',
  meaning:
    'The open_count of a vfio_device decides when its driver is told of the first open and of the ' +
    'last close, when its VM is captured and given back, and whether it may be taken away. It is not ' +
    'what the opens and closes that were seen add up to: too high, and the device is never really ' +
    'closed; too low, and it is taken from its users while they use it.',
  advice:
    'Report it with the evidence: the core counts under a lock, so this is memory written by somebody ' +
    'else, or a driver that changes the count itself. Move what matters off this host.',
  origin:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), where it was settled that VMs are ' +
    'taken and put with open_count; vfio_df_open() and vfio_df_close() in drivers/vfio/vfio_main.c',
  evidence: 'Both counts, and who has the device open.',
  kernels: { from: [5, 15], because: 'the kernel does not count the opens of a device' },
  provocation: {
    by: 'nothing',
    how: 'The core counts under a lock, and no driver has a reason to write to its count.',
  },
  basis: 'history',
  needs: ['vfio.device.open', 'vfio.device.close'],
  // Not at the events: where opens run side by side, a sample may be of a moment later than its event.
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
        lasting: true,
        says:
          `The kernel counts ${times(device.openCount)} of ${deviceWords(device)}, but there ` +
          `${seen === 1 ? 'was one' : `were ${seen || 'none'}`}` +
          `${seen > 0 ? `: by ${openers(device)}` : ' that was not closed again'}.`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'a close that does not count',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          device.openCount++;
          story.close(open);
          story.wait(1);
        },
      },
      {
        title: 'a device that counts as closed while it is open',
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          const [first] = [story.open(device, { vm }), story.open(device, { vm })];
          device.openCount--;
          story.close(first);
          story.wait(1);
        },
        also: ['nested-open'],
      },
    ],
    silent: [
      {
        title: 'opened and closed several times, also side by side',
        also: ['nested-open'],
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          const [first, second] = [story.open(device, { vm }), story.open(device, { vm })];
          story.wait(1);
          story.close(first);
          story.wait(1);
          story.open(device, { vm });
          story.close(second);
          story.wait(1);
        },
      },
      {
        title: 'an open is under way: it may have been counted or not',
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          const first = story.open(device, { vm });
          const second = story.openBegins(device, { vm });
          device.openCount++;
          story.close(first);
          story.wait(1);
          device.openCount--;
          story.openEnds(second);
          story.wait(1);
        },
      },
      {
        title: 'an open that fails does not count',
        also: ['open-failed'],
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.open(device, { vm });
          story.openEnds(story.openBegins(device, { vm }), { error: 22 });
          story.wait(1);
        },
      },
      {
        title: 'opens before the agent started are only in the count',
        also: ['nested-open'],
        tell(story) {
          const device = mdevFromBefore(story.parent());
          device.openCount = 2;
          story.open(device);
          story.wait(1);
        },
      },
    ],
  },
};

/** How many opens were seen and not closed; undefined while some are under way, or were not seen. */
function countOf({ opens }: Device): number | undefined {
  for (const { state, adopted } of opens) if (state !== 'open' || adopted) return undefined;
  return opens.length;
}

function times(count: number): string {
  return count === 1 ? 'one open' : `${count || 'no'} opens`;
}
