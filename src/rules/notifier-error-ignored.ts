import { errnoName } from '../engine/errno.ts';
import { driverOf } from '../engine/refusal.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, vmWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import { EVENT } from '../events/wire.gen.ts';
import type { Device } from '../lifecycle/objects.ts';

/** include/linux/notifier.h */
const NOTIFY_DONE = 0;
const NOTIFY_OK = 1;
const NOTIFY_STOP_MASK = 0x8000;
const NOTIFY_BAD = NOTIFY_STOP_MASK | 2;
const NOTIFY_STOP = NOTIFY_STOP_MASK | NOTIFY_OK;

export const notifierErrorIgnored: Rule = {
  id: 'notifier-error-ignored',
  title: 'A driver refused its VM, and VFIO ignored the error',
  severity: 'error',
  description:
    'Until 5.19 drivers were notified of the VM of a device by a callback. One of them ' +
    'returned an error, but VFIO discards it: the VMM believes that the device belongs to its ' +
    'VM, and the driver works without it. Drivers behind the one that failed may not have been ' +
    'notified at all.',
  remediation:
    'Stop the VM, and read in the kernel log what its driver wrote. That the error is ' +
    'discarded was one reason to remove the callbacks: kernels from 6.0 on refuse the open ' +
    'instead.',
  references:
    'vfio: remove the KVM notifier, in the thread vfio-pci/zdev: add open/close device hooks (2022); ' +
    'vfio_group_set_kvm() in drivers/vfio/vfio.c of 5.10',
  evidence: 'The answer, the VM, and who set it.',
  kernels: {
    where: { driversAreNotified: true },
    because: 'no callback notifies drivers of their VM',
  },
  provocation: {
    by: 'driver',
    how: 'The driver registers for the VM, and returns NOTIFY_BAD.',
  },
  basis: 'event',
  on: {
    'vfio.group.notify:end'(transition, context) {
      const { event, vm } = transition;
      const device = deviceNotified(transition, context);
      const answer = failure(event.ret) ?? passed(transition, device, context);
      if (!answer) return;
      const task = taskOf(event);
      const of = device
        ? `the driver of ${deviceWords(device)}`
        : `a driver of group ${event.groupId}`;
      const what = vm ? `set ${vmWords(vm)} as the VM of the group` : 'cleared the VM of the group';
      context.report({
        device,
        vm,
        task,
        message: `When ${who(task)} ${what}, ${of} returned ${answer}, which VFIO ignores.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'the callback returns NOTIFY_BAD',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.setKvm(device, scenario.createVm());
          scenario.notified(device, NOTIFY_BAD);
        },
      },
      {
        title: 'the callback returns an errno as it is',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.setKvm(device, scenario.createVm());
          scenario.notified(device, -22);
        },
      },
      {
        title: 'vfio-ap cannot use the VM',
        also: ['open-without-kvm', 'kvm-set-after-open'],
        run(scenario) {
          const parent = scenario.parent({ name: 'matrix', driver: 'vfio_ap' });
          const device = scenario.create(parent);
          scenario.open(device);
          scenario.setKvm(device, scenario.createVm());
          scenario.notified(device, NOTIFY_DONE);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the driver agrees',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.setKvm(device, scenario.createVm());
          scenario.notified(device, NOTIFY_OK);
        },
      },
      {
        title: 'it agrees, and no other driver is to be notified',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.setKvm(device, scenario.createVm());
          scenario.notified(device, NOTIFY_STOP);
        },
      },
      {
        title: 'no driver registered for it',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.setKvm(device, scenario.createVm());
          scenario.open(device);
          scenario.notified(device, NOTIFY_DONE);
        },
      },
      {
        title: 'a VM is set while nobody has the device open, so no driver listens yet',
        run(scenario) {
          const device = scenario.create(scenario.parent({ name: 'matrix', driver: 'vfio_ap' }));
          scenario.setKvm(device, scenario.createVm());
          scenario.notified(device, NOTIFY_DONE);
        },
      },
      {
        title: 'the VM is cleared, and the driver ignores that',
        run(scenario) {
          const device = scenario.create(scenario.parent({ name: 'matrix', driver: 'vfio_ap' }));
          const open = scenario.open(device, { vm: scenario.createVm() });
          scenario.clearKvm(device, { exiting: true });
          scenario.notified(device, NOTIFY_DONE);
          scenario.close(open, { exiting: true });
        },
      },
    ],
  },
};

/** An answer that means failure from any driver: see notifier_to_errno(). */
function failure(answer: number): string | undefined {
  if (answer < 0) return errnoName(-answer);
  if (answer === NOTIFY_BAD) return 'NOTIFY_BAD';
  const errno = (answer & ~NOTIFY_STOP_MASK) - NOTIFY_OK;
  return errno > 0 ? errnoName(errno) : undefined;
}

/** NOTIFY_DONE means "not for me", or that nobody listens; from drivers that need a VM it means failure. */
function passed(
  { event }: ObservedTransition,
  device: Device | undefined,
  { world, drivers }: RuleContext,
): string | undefined {
  if (event.ret !== NOTIFY_DONE || !event.has(EVENT.kvm) || !device) return undefined;
  // Drivers register for the VM in their open.
  const isListening = device.isOpen || world.calls.requestOf(event.tid) !== undefined;
  return isListening && drivers.needKvm.has(driverOf(device)) ? 'NOTIFY_DONE' : undefined;
}

/** The device that is being opened, or the device of the group that is open. */
function deviceNotified(
  { event, group }: ObservedTransition,
  { world }: RuleContext,
): Device | undefined {
  const request = world.calls.requestOf(event.tid);
  if (request) return world.devices.named(request.name);
  let last: Device | undefined;
  for (const device of group?.devices ?? []) {
    if (device.isOpen) return device;
    last = device;
  }
  return last;
}
