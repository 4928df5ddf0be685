import { EVENT } from '../events/wire.gen.ts';
import type { Moment } from '../lifecycle/moment.ts';
import { type Device, taskOf } from '../lifecycle/objects.ts';
import { errnoName } from './errno.ts';
import { driverOf } from './refusal.ts';
import type { Rule, RuleContext } from './rule.ts';
import { deviceWords, vmWords, who } from './words.ts';

/** include/linux/notifier.h */
const NOTIFY_DONE = 0;
const NOTIFY_OK = 1;
const NOTIFY_STOP_MASK = 0x8000;
const NOTIFY_BAD = NOTIFY_STOP_MASK | 2;
const NOTIFY_STOP = NOTIFY_STOP_MASK | NOTIFY_OK;

export const notifierErrorIgnored: Rule = {
  id: 'notifier-error-ignored',
  title: 'A driver refused its VM, and nobody looked',
  severity: 'error',
  meaning:
    'Until 5.19 drivers learned of the VM of a device by a callback. One of them answered that it ' +
    'failed, but VFIO throws the answer away: the VMM believes that the device belongs to its VM, and ' +
    'the driver works without it. Drivers behind the one that failed may not have been told at all.',
  advice:
    'Stop the VM and look into the kernel log for what its driver says. That the answer is thrown away ' +
    'was one reason to do without the callbacks: kernels from 6.0 on refuse the open instead.',
  origin:
    'vfio: remove the KVM notifier, in the thread vfio-pci/zdev: add open/close device hooks (2022); ' +
    'vfio_group_set_kvm() in drivers/vfio/vfio.c of 5.10',
  evidence: 'The answer, the VM, and who set it.',
  kernels: { before: [6, 0], because: 'drivers are told of their VM by no callback any more' },
  provocation: {
    by: 'driver',
    how: 'The driver asks to be told of the VM, and answers NOTIFY_BAD.',
  },
  basis: 'event',
  on: {
    'vfio.group.notify:end'(moment, context) {
      const { event, vm } = moment;
      const device = deviceTold(moment, context);
      const answer = failure(event.ret) ?? passed(moment, device, context);
      if (!answer) return;
      const task = taskOf(event);
      const of = device
        ? `the driver of ${deviceWords(device)}`
        : `a driver of group ${event.groupId}`;
      const what = vm
        ? `that the device belongs to ${vmWords(vm)}`
        : 'that the device has no VM any more';
      context.report({
        device,
        vm,
        task,
        says: `${who(task)} had ${of} told ${what}. It answered ${answer}, which VFIO ignores.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'the callback answers NOTIFY_BAD',
        tell(story) {
          const device = story.create(story.parent());
          story.setKvm(device, story.createVm());
          story.notified(device, NOTIFY_BAD);
        },
      },
      {
        title: 'the callback returns an errno as it is',
        tell(story) {
          const device = story.create(story.parent());
          story.setKvm(device, story.createVm());
          story.notified(device, -22);
        },
      },
      {
        title: 'vfio-ap cannot use the VM',
        also: ['open-without-kvm', 'kvm-set-after-open'],
        tell(story) {
          const parent = story.parent({ name: 'matrix', driver: 'vfio_ap' });
          const device = story.create(parent);
          story.open(device);
          story.setKvm(device, story.createVm());
          story.notified(device, NOTIFY_DONE);
        },
      },
    ],
    silent: [
      {
        title: 'the driver agrees',
        tell(story) {
          const device = story.create(story.parent());
          story.setKvm(device, story.createVm());
          story.notified(device, NOTIFY_OK);
        },
      },
      {
        title: 'it agrees, and nobody else is to be told',
        tell(story) {
          const device = story.create(story.parent());
          story.setKvm(device, story.createVm());
          story.notified(device, NOTIFY_STOP);
        },
      },
      {
        title: 'no driver asked to be told',
        tell(story) {
          const device = story.create(story.parent());
          story.setKvm(device, story.createVm());
          story.open(device);
          story.notified(device, NOTIFY_DONE);
        },
      },
      {
        title: 'told of a VM while nobody has the device open, a driver is not listening yet',
        tell(story) {
          const device = story.create(story.parent({ name: 'matrix', driver: 'vfio_ap' }));
          story.setKvm(device, story.createVm());
          story.notified(device, NOTIFY_DONE);
        },
      },
      {
        title: 'the VM is taken away, and the driver has nothing to say to that',
        tell(story) {
          const device = story.create(story.parent({ name: 'matrix', driver: 'vfio_ap' }));
          const open = story.open(device, { vm: story.createVm() });
          story.clearKvm(device, { exiting: true });
          story.notified(device, NOTIFY_DONE);
          story.close(open, { exiting: true });
        },
      },
    ],
  },
};

/** An answer that means that it failed, whoever gave it: see notifier_to_errno(). */
function failure(answer: number): string | undefined {
  if (answer < 0) return errnoName(-answer);
  if (answer === NOTIFY_BAD) return 'NOTIFY_BAD';
  const errno = (answer & ~NOTIFY_STOP_MASK) - NOTIFY_OK;
  return errno > 0 ? errnoName(errno) : undefined;
}

/** NOTIFY_DONE is "not for me", or that nobody listens; but of drivers that need a VM it means that they failed. */
function passed(
  { event }: Moment,
  device: Device | undefined,
  { world, drivers }: RuleContext,
): string | undefined {
  if (event.ret !== NOTIFY_DONE || !event.has(EVENT.kvm) || !device) return undefined;
  // They listen from their open on.
  const isListening = device.isOpen || world.fetching.has(event.tid);
  return isListening && drivers.needKvm.has(driverOf(device)) ? 'NOTIFY_DONE' : undefined;
}

/** That which is being opened, or that of the group which is open. */
function deviceTold({ event, group }: Moment, { world }: RuleContext): Device | undefined {
  const request = world.fetching.get(event.tid);
  if (request) return world.devicesByName.get(request.name);
  let last: Device | undefined;
  for (const device of group?.devices ?? []) {
    if (device.isOpen) return device;
    last = device;
  }
  return last;
}
