import { isOfNobody } from '../lifecycle/kvm.ts';
import type { Moment } from '../lifecycle/moment.ts';
import { taskOf } from '../lifecycle/objects.ts';
import type { Rule, RuleContext } from './rule.ts';
import { vmWords, who } from './words.ts';

export const kvmRefUnderflow: Rule = {
  id: 'kvm-ref-underflow',
  title: 'A reference was put or taken on a VM that has none left',
  severity: 'critical',
  meaning:
    'The users_count of a VM was zero already, or had been driven below zero before, when somebody put ' +
    'or took another reference. Whoever puts must hold one, so one was put twice, and the VM has been ' +
    'freed under somebody. The kernel says "refcount_t: underflow; use-after-free" once, and from then ' +
    'on may corrupt any memory.',
  advice:
    'Move the other VMs away and reboot this host. The process and the device named in the evidence ' +
    'lead to the driver: it puts a reference at its close that it did not take, or puts it twice.',
  origin:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), on who puts which reference; ' +
    'kvm_put_kvm() in virt/kvm/kvm_main.c and refcount_warn_saturate() in lib/refcount.c',
  evidence: 'The users_count as it was before each call, who called, and in which order.',
  provocation: {
    by: 'driver',
    how:
      'A driver calls kvm_put_kvm() in its open while the count is zero, and writes the right count ' +
      'back at once, so that nothing is freed.',
  },
  basis: 'event',
  on: {
    'kvm.put:begin': (moment, context) => check(moment, context, 'put a reference on'),
    'kvm.get:begin': (moment, context) => check(moment, context, 'took a reference on'),
    'kvm.vm.fd_close:begin': (moment, context) => check(moment, context, 'closed'),
    'kvm.vm.destroy:begin'(moment, context) {
      // Zero is as it should be.
      if (moment.event.usersCount !== 0) check(moment, context, 'destroys');
    },
  },
  examples: {
    fires: [
      {
        title: 'a driver puts at its close what it never took',
        tell(story) {
          const vm = story.createVm();
          const open = story.open(story.create(story.parent()), { vm });
          story.closeVm(vm);
          story.closeBegins(open);
          story.putKvm(vm);
          story.closeEnds(open);
        },
        also: ['device-kvm-refs-unbalanced'],
      },
      {
        title: 'a reference is taken on a VM that is gone',
        tell(story) {
          const vm = story.createVm();
          story.closeVm(vm);
          story.getKvm(vm);
        },
      },
    ],
    silent: [
      {
        title: 'the last reference is put, and the VM is destroyed',
        tell(story) {
          const vm = story.createVm();
          story.getKvm(vm);
          story.closeVm(vm);
          story.putKvm(vm);
        },
      },
      {
        title: 'a device asks safely for a VM that is gone: that is kvm-capture-refused',
        also: ['kvm-capture-refused'],
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.setKvm(device, vm);
          story.closeVm(vm);
          story.open(device);
        },
      },
      {
        title: 'the address of a VM is used again by the next one',
        tell(story) {
          const first = story.createVm();
          story.closeVm(first);
          const second = story.createVm({ as: { pid: 601, comm: 'qemu' }, at: first });
          story.getKvm(second);
          story.putKvm(second);
          story.closeVm(second);
        },
      },
    ],
  },
};

function check({ event, vm }: Moment, { report }: RuleContext, did: string): void {
  if (!isOfNobody(event.usersCount)) return;
  const count = event.usersCount === 0 ? 'zero' : 'below zero';
  report({
    vm,
    task: taskOf(event),
    says:
      `${who(taskOf(event))} ${did} ${vm ? vmWords(vm) : 'a VM'} when its users_count was ${count} ` +
      'already: a reference was put once too often.',
  });
}
