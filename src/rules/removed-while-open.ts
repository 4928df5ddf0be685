import type { Moment } from '../lifecycle/moment.ts';
import type { Rule, RuleContext } from './rule.ts';
import { deviceWords, openers, who } from './words.ts';

function check({ event, device }: Moment, { world, report }: RuleContext): void {
  if (!device) return;
  // Where the kernel does not count, its closes may be among the events that were lost.
  if (event.openCount < 0 && world.qualityOf(device) === 'tainted') return;
  // Of a device that was unregistered before, the kernel has said how many have it open.
  if ((event.openCount >= 0 ? event.openCount : device.openCount) === 0) return;
  report({
    device,
    vm: device.vm,
    task: device.remover,
    says:
      `${deviceWords(device)} was torn down by ${who(device.remover)} while it was still held open by ` +
      `${openers(device)}. What its users do with it next, closing included, may crash the kernel.`,
  });
}

export const removedWhileOpen: Rule = {
  id: 'removed-while-open',
  title: 'A device was torn down while somebody had it open',
  severity: 'critical',
  meaning:
    'The driver took the device away without waiting for its users. Their next access, or just their ' +
    'close, works on memory that is gone. The core waits for users in vfio_unregister_group_dev; a ' +
    'driver that skips that call, or a bug in it, leads here.',
  advice:
    'Do not stop the VM before you have saved what you need: the close itself may crash the host. ' +
    'Report it to the maker of the driver with the evidence below.',
  origin:
    'vfio/mdev: Improve the create/remove sequence (2019): taking a device off the bus must end its ' +
    'use first; intel_vgpu_remove() before 6.2 returned early when attached',
  evidence: 'Who took the device away, how many still had it open, and for which VM.',
  provocation: {
    by: 'driver',
    how:
      'The driver returns from its remove without vfio_unregister_group_dev() when the device is open, ' +
      'as kvmgt did on 6.1.',
  },
  basis: 'event',
  needs: ['vfio.device.open', 'vfio.device.close'],
  on: {
    'vfio.unregister:end': check,
    'mdev.unbind:end': check,
  },
  examples: {
    fires: [
      {
        title: 'a driver returns from remove without unregistering the device',
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          const removal = story.removeBegins(device, {
            as: { pid: 700, comm: 'bash' },
            idle: true,
          });
          story.unbindWithoutUnregister(removal);
          story.removeEnds(removal);
        },
      },
    ],
    silent: [
      {
        title: 'the removal waits for the last close',
        tell(story) {
          const device = story.create(story.parent());
          const open = story.open(device, { vm: story.createVm() });
          const removal = story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          story.close(open);
          story.removeEnds(removal);
        },
      },
      {
        title: 'another device of the same VM stays open',
        tell(story) {
          const parent = story.parent();
          const vm = story.createVm();
          const [first, second] = [story.create(parent), story.create(parent)];
          const open = story.open(first, { vm });
          story.open(second, { vm });
          story.close(open);
          story.remove(first);
        },
      },
      {
        title: 'a close was not seen, and the kernel counts nobody any more',
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          device.openCount = 0;
          story.remove(device);
        },
      },
    ],
  },
};
