import type { Rule } from '../engine/rule.ts';
import { STALL_SEVERITY, stallOf } from '../engine/stall.ts';
import { destroyVmBegins, destroyVmEnds } from '../scenario/kvm.ts';

export const vmDestroyStall: Rule = {
  id: 'vm-destroy-stall',
  title: 'The destruction of a VM does not return',
  severity: 'warning',
  severityVaries: STALL_SEVERITY,
  description:
    'The last reference on a VM is put, and KVM does not finish tearing it down: it frees the memory ' +
    'of the guest, waits for readers of its structures, or for a vCPU or a device that does not ' +
    'stop. The process that put the reference, mostly the VMM or one that closed a device, is ' +
    'blocked, and the memory of the guest stays allocated.',
  remediation:
    'Read where the thread is blocked. Some seconds are normal for a VM with much memory, and the ' +
    'time should fall with the load of the host. If it stays in the same function for minutes, ' +
    'save the kernel stack and the kernel log, and plan a reboot: nothing else frees the memory.',
  references: 'kvm_destroy_vm() in virt/kvm/kvm_main.c',
  evidence:
    'Which call has not returned, who made it, since when, and where its thread is blocked in the kernel; the events of the VM.',
  blindSpot: 'How much of the memory of the guest is freed already.',
  provocation: {
    by: 'nothing',
    how: 'A correct kernel destroys a VM in milliseconds, and no driver is called within.',
  },
  basis: 'state',
  ...stallOf({ operations: ['vm_destroy'], threshold: 'vmDestroyStall' }),
  examples: {
    fires: [
      {
        title: 'the teardown does not end',
        run(scenario) {
          const vm = scenario.createVm();
          destroyVmBegins(scenario, vm);
          scenario.wait(40);
        },
      },
      {
        title: 'it ends between two ticks, after longer than the threshold',
        run(scenario) {
          const vm = scenario.createVm();
          destroyVmBegins(scenario, vm);
          scenario.pass(30.5);
          destroyVmEnds(scenario, vm);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the teardown of a large VM takes a while',
        run(scenario) {
          const vm = scenario.createVm();
          destroyVmBegins(scenario, vm);
          scenario.wait(29);
          destroyVmEnds(scenario, vm);
          scenario.wait(60);
        },
      },
    ],
  },
};
