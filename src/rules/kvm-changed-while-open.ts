import type { Rule } from '../engine/rule.ts';
import { deviceWords, openWords, vmWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';

export const kvmChangedWhileOpen: Rule = {
  id: 'kvm-changed-while-open',
  title: 'A group was given to a second VM',
  severity: 'error',
  severityVaries: 'A warning when no device of the group is open yet.',
  description:
    'A group that belonged to one VM was added to the kvm-vfio device of another while the ' +
    'first VM still exists. KVM checks that a VM does not add a group twice, but not that two ' +
    'VMs share one: the second silently replaces the first. A device that is open keeps ' +
    'serving the first, the next to be opened serves the second, and when either VM removes ' +
    'the group, it has no VM at all.',
  remediation:
    'Stop the VM that the device was not meant for. A group, like the devices in it, must be ' +
    'in the configuration of one running VM only.',
  references:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), on group->kvm and who may change ' +
    'it; kvm_vfio_file_add() in virt/kvm/vfio.c and vfio_group_set_kvm() in drivers/vfio/group.c',
  evidence: 'Both VMs, who added the group to the second, and who has its devices open.',
  notByCdev: 'kvm-set-after-bind reports it',
  provocation: {
    by: 'user',
    how:
      'One group file is added to the kvm-vfio devices of two VMs, with the device open and ' +
      'without.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close', 'kvm.vm.destroy'],
  on: {
    'vfio.group.set_kvm:begin'({ group, vmBefore, event }, { world, report }) {
      const vm = group?.vm;
      if (!group || !vm || !vmBefore || vmBefore === vm || vmBefore.isGone) return;
      // The events that it left the group, or that this is another group of that number, may be lost.
      if (world.qualityOf(vmBefore) === 'unverified') return;
      const task = taskOf(event);
      const change =
        `${who(task)} gave group ${group.id} to ${vmWords(vm)}, although it still belonged to ` +
        vmWords(vmBefore);
      let isUsed = false;
      for (const device of group.devices) {
        if (!device.isOpen) continue;
        isUsed = true;
        report({
          device,
          vm,
          task,
          stillOpen: true,
          message: `${change} and ${deviceWords(device)} was ${openWords(device)}.`,
        });
      }
      const [device] = group.devices;
      if (isUsed || !device) return;
      const message = `${change}. No device of the group is open; the next to be opened serves the second VM.`;
      report({ device, vm, task, severity: 'warning', message });
    },
  },
  examples: {
    fires: [
      {
        title: 'a second VM takes the group of an open device',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.setKvm(device, scenario.createVm({ as: { pid: 601, comm: 'qemu' } }));
        },
      },
      {
        title: 'two VMs are started with the same device',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.setKvm(device, scenario.createVm());
          scenario.setKvm(device, scenario.createVm({ as: { pid: 601, comm: 'qemu' } }));
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the first VM removed the group before',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.close(scenario.open(device, { vm: scenario.createVm() }));
          scenario.clearKvm(device);
          const as = { pid: 601, comm: 'qemu' };
          scenario.open(device, { vm: scenario.createVm({ as }), as });
        },
      },
      {
        title: 'the first VM is being destroyed: it removes the group last',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const first = scenario.createVm();
          scenario.setKvm(device, first);
          scenario.closeVm(first);
          scenario.setKvm(device, scenario.createVm({ as: { pid: 601, comm: 'qemu' } }));
        },
      },
      {
        title: 'the same VM again',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.open(device, { vm });
          scenario.setKvm(device, vm);
        },
      },
      {
        title: 'two VMs with a group each',
        run(scenario) {
          const parent = scenario.parent();
          scenario.open(scenario.create(parent), { vm: scenario.createVm() });
          const as = { pid: 601, comm: 'qemu' };
          scenario.open(scenario.create(parent), { vm: scenario.createVm({ as }), as });
        },
      },
    ],
  },
};
