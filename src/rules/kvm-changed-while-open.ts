import { taskOf } from '../lifecycle/objects.ts';
import type { Rule } from './rule.ts';
import { deviceWords, openers, vmWords, who } from './words.ts';

export const kvmChangedWhileOpen: Rule = {
  id: 'kvm-changed-while-open',
  title: 'A group was given to a second VM',
  severity: 'error',
  severityVaries: 'A warning when no device of the group is open yet.',
  meaning:
    'A group that belonged to one VM was added to the kvm-vfio device of another, while the first ' +
    'lives. KVM checks that a VM does not add a group twice, but not that two VMs share one: the ' +
    'second silently takes the place of the first. A device that is open keeps serving the first, the ' +
    'next to be opened serves the second, and when either of them lets go of the group, it has no VM ' +
    'at all.',
  advice:
    'Find out which of the two VMs the device was meant for, and stop the other. A group, like the ' +
    'devices in it, must be in the configuration of one running VM only.',
  origin:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), on group->kvm and who may change ' +
    'it; kvm_vfio_file_add() in virt/kvm/vfio.c and vfio_group_set_kvm() in drivers/vfio/group.c',
  evidence: 'Both VMs, who added the group to the second, and who has its devices open.',
  provocation: {
    by: 'user',
    how: 'One group file is added to the kvm-vfio devices of two VMs, with the device open and without.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close', 'kvm.vm.destroy'],
  on: {
    'vfio.group.set_kvm:begin'({ group, vmBefore, event }, { world, report }) {
      const vm = group?.vm;
      if (!group || !vm || !vmBefore || vmBefore === vm || vmBefore.isOver) return;
      // That it let go of the group, or that this is another of the same number, may have been lost.
      if (world.qualityOf(vmBefore) === 'tainted') return;
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
          says: `${change} and ${deviceWords(device)} was held open by ${openers(device)}.`,
        });
      }
      const [device] = group.devices;
      if (isUsed || !device) return;
      const says = `${change}. No device of the group is open; the next to be opened serves the second VM.`;
      report({ device, vm, task, severity: 'warning', says });
    },
  },
  examples: {
    fires: [
      {
        title: 'a second VM takes the group of an open device',
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.setKvm(device, story.createVm({ as: { pid: 601, comm: 'qemu' } }));
        },
      },
      {
        title: 'two VMs are started with the same device',
        tell(story) {
          const device = story.create(story.parent());
          story.setKvm(device, story.createVm());
          story.setKvm(device, story.createVm({ as: { pid: 601, comm: 'qemu' } }));
        },
      },
    ],
    silent: [
      {
        title: 'the first VM let go of the group before',
        tell(story) {
          const device = story.create(story.parent());
          story.close(story.open(device, { vm: story.createVm() }));
          story.clearKvm(device);
          const as = { pid: 601, comm: 'qemu' };
          story.open(device, { vm: story.createVm({ as }), as });
        },
      },
      {
        title: 'the first VM is being destroyed: it lets go of the group as its last act',
        tell(story) {
          const device = story.create(story.parent());
          const first = story.createVm();
          story.setKvm(device, first);
          story.closeVm(first);
          story.setKvm(device, story.createVm({ as: { pid: 601, comm: 'qemu' } }));
        },
      },
      {
        title: 'the same VM once more',
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.open(device, { vm });
          story.setKvm(device, vm);
        },
      },
      {
        title: 'two VMs with a group each',
        tell(story) {
          const parent = story.parent();
          story.open(story.create(parent), { vm: story.createVm() });
          const as = { pid: 601, comm: 'qemu' };
          story.open(story.create(parent), { vm: story.createVm({ as }), as });
        },
      },
    ],
  },
};
