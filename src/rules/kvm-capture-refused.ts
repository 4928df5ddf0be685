import type { Rule } from '../engine/rule.ts';
import { deviceWords, vmWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';

export const kvmCaptureRefused: Rule = {
  id: 'kvm-capture-refused',
  title: 'A device could not get the VM of its group',
  severity: 'warning',
  description:
    'The group of a device has a VM, but when the device was opened, that VM was being ' +
    'destroyed, and KVM gave no reference. The open continues all the same: the device then ' +
    'works without a VM, and the VMM gets no error.',
  remediation:
    'Close the device and open it again when its group belongs to a running VM. If it happens ' +
    'repeatedly, find the VMM that opens devices while another thread shuts its VM down.',
  references:
    'vfio_device_get_kvm_safe() in drivers/vfio/vfio_main.c; the thread vfio-pci/zdev: add open/close ' +
    'device hooks (2022)',
  evidence: 'The VM with its users_count, and who opened the device.',
  kernels: { where: { coreHoldsVm: true }, because: 'the core takes no reference on a VM' },
  provocation: {
    by: 'nothing',
    how:
      'A VM is removed from its groups before its last reference is put, and the locks leave ' +
      'hardly any window for the race.',
  },
  basis: 'state',
  needsStep: ['vfio.device.kvm_capture'],
  on: {
    'vfio.device.kvm_capture:end'({ device, event }, { report }) {
      const vm = device?.vmOffered;
      if (!device || !vm || device.vm) return;
      report({
        device,
        vm,
        task: taskOf(event),
        message:
          `${who(taskOf(event))} opens ${deviceWords(device)}, whose group belongs to ${vmWords(vm)}, but ` +
          'that VM had no users left. The device works without a VM.',
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'opened just after the last reference is gone',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.setKvm(device, vm);
          scenario.closeVm(vm);
          scenario.open(device);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the VM is captured',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
        },
      },
      {
        title: 'the group has none: that is open-without-kvm',
        also: ['open-without-kvm'],
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()));
        },
      },
      {
        title: 'the VM was removed from the group in time',
        also: ['open-without-kvm'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.close(scenario.open(device, { vm }));
          scenario.clearKvm(device);
          scenario.closeVm(vm);
          scenario.open(device, { as: { pid: 900, comm: 'dpdk' } });
        },
      },
      {
        title: 'a captured VM is given back when the driver refuses the open',
        also: ['open-failed'],
        run(scenario) {
          const opening = scenario.openBegins(scenario.create(scenario.parent()), {
            vm: scenario.createVm(),
          });
          scenario.openEnds(opening, { error: 5 });
        },
      },
    ],
  },
};
