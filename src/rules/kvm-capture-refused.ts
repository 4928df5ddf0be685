import { taskOf } from '../lifecycle/objects.ts';
import type { Rule } from './rule.ts';
import { deviceWords, vmWords, who } from './words.ts';

export const kvmCaptureRefused: Rule = {
  id: 'kvm-capture-refused',
  title: 'A device could not take the VM of its group',
  severity: 'warning',
  meaning:
    'The group of a device has a VM, but when the device was opened, that VM was on its way out, and ' +
    'KVM gave no reference. The open goes on all the same: the device then works without a VM, and ' +
    'nothing tells the VMM.',
  advice:
    'Close the device and open it anew when its group belongs to a VM that lives. If it happens more ' +
    'than once, look for a VMM that opens devices while another thread shuts its VM down.',
  origin:
    'vfio_device_get_kvm_safe() in drivers/vfio/vfio_main.c; the thread vfio-pci/zdev: add open/close ' +
    'device hooks (2022)',
  evidence: 'The VM with its users_count, and who opened the device.',
  kernels: { from: [6, 2], because: 'the core takes no reference on a VM there' },
  provocation: {
    by: 'nothing',
    how:
      'A VM takes itself off its groups before its last reference goes, so the window is that of a ' +
      'race that the locks leave hardly any room for.',
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
        says:
          `${who(taskOf(event))} opens ${deviceWords(device)}, whose group belongs to ${vmWords(vm)}, but ` +
          'that VM had no users left. The device goes on without a VM.',
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'opened just after the last reference is gone',
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.setKvm(device, vm);
          story.closeVm(vm);
          story.open(device);
        },
      },
    ],
    silent: [
      {
        title: 'the VM is captured',
        tell(story) {
          story.open(story.create(story.parent()), { vm: story.createVm() });
        },
      },
      {
        title: 'the group has none: that is open-without-kvm',
        also: ['open-without-kvm'],
        tell(story) {
          story.open(story.create(story.parent()));
        },
      },
      {
        title: 'the VM was taken from the group in time',
        also: ['open-without-kvm'],
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.close(story.open(device, { vm }));
          story.clearKvm(device);
          story.closeVm(vm);
          story.open(device, { as: { pid: 900, comm: 'dpdk' } });
        },
      },
      {
        title: 'a captured VM is given back when the driver refuses the open',
        also: ['open-failed'],
        tell(story) {
          const opening = story.openBegins(story.create(story.parent()), { vm: story.createVm() });
          story.openEnds(opening, { error: 5 });
        },
      },
    ],
  },
};
