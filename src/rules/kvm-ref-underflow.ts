import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { vmWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import { isUnreferenced } from '../lifecycle/kvm.ts';

export const kvmRefUnderflow: Rule = {
  id: 'kvm-ref-underflow',
  title: 'A reference was put or taken on a VM that has none left',
  severity: 'critical',
  description:
    'The users_count of a VM was zero already, or had been driven below zero before, when ' +
    'somebody put or took another reference. A put needs a reference to put, so one was put ' +
    'twice, and the VM has been freed while in use. The kernel reports "refcount_t: underflow; ' +
    'use-after-free" once, and from then on may corrupt any memory.',
  remediation:
    'Move the other VMs off this host and reboot it. The process and the device named in the ' +
    'evidence lead to the driver: it puts a reference at its close that it did not take, or ' +
    'puts it twice.',
  references:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), on who puts which reference; ' +
    'kvm_put_kvm() in virt/kvm/kvm_main.c and refcount_warn_saturate() in lib/refcount.c',
  evidence: 'The users_count as it was before each call, who called, and in which order.',
  provocation: {
    by: 'driver',
    how:
      'A driver calls kvm_put_kvm() in its open while the count is zero, and restores the ' +
      'count at once, so that nothing is freed.',
  },
  basis: 'event',
  on: {
    'kvm.put:begin': (transition, context) => check(transition, context, 'put a reference on'),
    'kvm.get:begin': (transition, context) => check(transition, context, 'took a reference on'),
    'kvm.vm.fd_close:begin': (transition, context) => check(transition, context, 'closed'),
    'kvm.vm.destroy:begin'(transition, context) {
      // Zero is the right count here.
      if (transition.event.usersCount !== 0) check(transition, context, 'destroys');
    },
  },
  examples: {
    fires: [
      {
        title: 'a driver puts at its close what it never took',
        run(scenario) {
          const vm = scenario.createVm();
          const open = scenario.open(scenario.create(scenario.parent()), { vm });
          scenario.closeVm(vm);
          scenario.closeBegins(open);
          scenario.putKvm(vm);
          scenario.closeEnds(open);
        },
        also: ['device-kvm-refs-unbalanced'],
      },
      {
        title: 'a reference is taken on a VM that is gone',
        run(scenario) {
          const vm = scenario.createVm();
          scenario.closeVm(vm);
          scenario.getKvm(vm);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the last reference is put, and the VM is destroyed',
        run(scenario) {
          const vm = scenario.createVm();
          scenario.getKvm(vm);
          scenario.closeVm(vm);
          scenario.putKvm(vm);
        },
      },
      {
        title: 'a device tries to get a VM that is gone: that is kvm-capture-refused',
        also: ['kvm-capture-refused'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.setKvm(device, vm);
          scenario.closeVm(vm);
          scenario.open(device);
        },
      },
      {
        title: 'the address of a VM is used again by the next one',
        run(scenario) {
          const first = scenario.createVm();
          scenario.closeVm(first);
          const second = scenario.createVm({ as: { pid: 601, comm: 'qemu' }, at: first });
          scenario.getKvm(second);
          scenario.putKvm(second);
          scenario.closeVm(second);
        },
      },
    ],
  },
};

function check({ event, vm }: ObservedTransition, { report }: RuleContext, did: string): void {
  if (!isUnreferenced(event.usersCount)) return;
  const count = event.usersCount === 0 ? 'zero' : 'below zero';
  report({
    vm,
    task: taskOf(event),
    message:
      `${who(taskOf(event))} ${did} ${vm ? vmWords(vm) : 'a VM'} when its users_count was ${count} ` +
      'already: a reference was put once too often.',
  });
}
