import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, openWords, who } from '../engine/words.ts';

function check({ event, device }: ObservedTransition, { world, report }: RuleContext): void {
  if (!device) return;
  // On a kernel that does not count opens, the closes may be among the lost events.
  if (event.openCount < 0 && world.qualityOf(device) === 'unverified') return;
  // For a device that was unregistered before, the kernel has reported how many have it open.
  if ((event.openCount >= 0 ? event.openCount : device.openCount) === 0) return;
  report({
    device,
    vm: device.vm,
    task: device.remover,
    message:
      `${deviceWords(device)} was torn down by ${who(device.remover)} while it was still ` +
      `${openWords(device)}. What its users do with it next, closing included, may crash the kernel.`,
  });
}

export const removedWhileOpen: Rule = {
  id: 'removed-while-open',
  title: 'A device was torn down while a process had it open',
  severity: 'critical',
  description:
    'The driver removed the device without waiting for its users. Their next access, or just ' +
    'their close, works on memory that has been freed. The core waits for users in ' +
    'vfio_unregister_group_dev(); a driver that skips that call, or a bug in it, leads here.',
  remediation:
    'Save what you need before you stop the VM: the close itself may crash the host. Report it ' +
    "to the driver's vendor with the evidence.",
  references:
    'vfio/mdev: Improve the create/remove sequence (2019): taking a device off the bus must end its ' +
    'use first; intel_vgpu_remove() before 6.2 returned early when attached',
  evidence: 'Who removed the device, how many still had it open, and for which VM.',
  provocation: {
    by: 'driver',
    how:
      'The driver returns from its remove callback without vfio_unregister_group_dev() when ' +
      'the device is open, as kvmgt did on 6.1.',
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
        title: 'a driver returns from its remove callback without unregistering the device',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          const removal = scenario.removeBegins(device, {
            as: { pid: 700, comm: 'bash' },
            idle: true,
          });
          scenario.unbindWithoutUnregister(removal);
          scenario.removeEnds(removal);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the removal waits for the last close',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const open = scenario.open(device, { vm: scenario.createVm() });
          const removal = scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.close(open);
          scenario.removeEnds(removal);
        },
      },
      {
        title: 'another device of the same VM stays open',
        run(scenario) {
          const parent = scenario.parent();
          const vm = scenario.createVm();
          const [first, second] = [scenario.create(parent), scenario.create(parent)];
          const open = scenario.open(first, { vm });
          scenario.open(second, { vm });
          scenario.close(open);
          scenario.remove(first);
        },
      },
      {
        title: 'a close was not observed, and the kernel counts no open any more',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          device.openCount = 0;
          scenario.remove(device);
        },
      },
    ],
  },
};
