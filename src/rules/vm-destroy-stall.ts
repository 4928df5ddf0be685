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
    'stop. It also waits for every MMU notifier on the host, so a driver that hangs in one while it ' +
    'watches the memory of another process blocks the destruction of all VMs. The process that put the ' +
    'reference, mostly the VMM or one that closed a device, is blocked, and the memory of the guest ' +
    'stays allocated.',
  remediation:
    'Read where the thread is blocked. Some seconds are normal for a VM with much memory, and the ' +
    'time should fall with the load of the host. If several VMs are stuck in mmu_notifier_unregister(), ' +
    'look for the thread that is in the notifier of a driver, such as one of a process that exits. If ' +
    'it stays in the same function for minutes, ' +
    'save the kernel stack and the kernel log, and plan a reboot: nothing else frees the memory.',
  references:
    'kvm_destroy_vm() in virt/kvm/kvm_main.c; mmu_notifier_unregister() in mm/mmu_notifier.c',
  evidence:
    'Which call has not returned, who made it, since when, and where its thread is blocked in the kernel; the events of the VM.',
  blindSpot: 'How much of the memory of the guest is freed already.',
  provocation: {
    by: 'driver',
    how: 'A driver does not return from an MMU notifier, and the VM of another process is destroyed.',
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
