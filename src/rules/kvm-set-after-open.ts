import { type Device, taskOf, type Vm } from '../lifecycle/objects.ts';
import type { Rule } from './rule.ts';
import { deviceWords, openers, vmWords, who } from './words.ts';

export const kvmSetAfterOpen: Rule = {
  id: 'kvm-set-after-open',
  title: 'A group was told its VM after its device was opened',
  severity: 'warning',
  severityVaries:
    'Information on 5.10, where drivers that ask for it are told of a VM at any time.',
  meaning:
    'VFIO looks for the VM of a device once, when it is opened for the first time. The group was told ' +
    'its VM only after that, so the device works without one, or with the one that it had, until ' +
    'every file of it is closed. Nothing fails: whatever the driver does for a VM (tracking its ' +
    'memory, letting its interrupts bypass the host) is silently missing.',
  advice:
    'In the VMM: add the group to the kvm-vfio device before VFIO_GROUP_GET_DEVICE_FD. To mend a ' +
    'running one, unplug the device and plug it in again.',
  origin:
    'vfio: remove the KVM notifier, in the thread vfio-pci/zdev: add open/close device hooks (2022), ' +
    'where it was agreed that the VM is settled at the first open; vfio_df_group_open() in ' +
    'drivers/vfio/group.c',
  evidence: 'Who told the group its VM, who has the device open, and for which VM, if any.',
  provocation: {
    by: 'user',
    how: 'The device is opened first, and its group is added to kvm-vfio then.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close', 'vfio.device.kvm_capture'],
  on: {
    'vfio.group.set_kvm:begin'({ group, vmBefore, event }, { host, report }) {
      const vm = group?.vm;
      // From one VM to another is kvm-changed-while-open.
      if (!group || !vm || (vmBefore && !vmBefore.isOver)) return;
      for (const device of group.devices) {
        if (!device.isOpen || hasIt(device, vm, vmBefore)) continue;
        const isToldLate = host.kernel[0] < 6;
        report({
          device,
          vm,
          task: taskOf(event),
          severity: isToldLate ? 'info' : 'warning',
          says:
            `${who(taskOf(event))} told group ${group.id} that it belongs to ${vmWords(vm)}, but ` +
            `${deviceWords(device)} was already held open by ${openers(device)}. ` +
            (isToldLate
              ? 'Its driver is told, if it asked to be.'
              : 'The device will not learn of that VM until all of its files have been closed.'),
        });
      }
    },
  },
  examples: {
    fires: [
      {
        title: 'the device is opened first',
        also: ['open-without-kvm'],
        tell(story) {
          const device = story.create(story.parent());
          story.open(device);
          story.setKvm(device, story.createVm());
        },
      },
      {
        title: 'opened for one VM, and its group is given to another later',
        also: ['kvm-cleared-while-open'],
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.clearKvm(device);
          story.setKvm(device, story.createVm({ as: { pid: 601, comm: 'qemu' } }));
        },
      },
    ],
    silent: [
      {
        title: 'the right order',
        tell(story) {
          const device = story.create(story.parent());
          story.setKvm(device, story.createVm());
          story.open(device);
        },
      },
      {
        title: 'told the VM that the device was opened for once more',
        also: ['kvm-cleared-while-open'],
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.open(device, { vm });
          story.clearKvm(device);
          story.setKvm(device, vm);
        },
      },
      {
        title: 'opened without a VM before, but closed by then',
        also: ['open-without-kvm'],
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.close(story.open(device));
          story.setKvm(device, vm);
          story.open(device, { vm });
        },
      },
      {
        title: 'the open was refused',
        also: ['open-failed'],
        tell(story) {
          const device = story.create(story.parent());
          story.openEnds(story.openBegins(device), { error: 5 });
          story.setKvm(device, story.createVm());
        },
      },
      {
        title: 'another group is told its VM',
        also: ['open-without-kvm'],
        tell(story) {
          const parent = story.parent();
          const [used, other] = [story.create(parent), story.create(parent)];
          story.open(used, { as: { pid: 900, comm: 'dpdk' } });
          story.setKvm(other, story.createVm());
        },
      },
      {
        title: 'from one VM to another: that is kvm-changed-while-open',
        also: ['kvm-changed-while-open'],
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.setKvm(device, story.createVm({ as: { pid: 601, comm: 'qemu' } }));
        },
      },
    ],
  },
};

/** Where the core keeps no VM of a device, it has had its group's. */
function hasIt(device: Device, vm: Vm, vmBefore: Vm | undefined): boolean {
  return (device.vmOfGroup ? vmBefore : device.vm) === vm;
}
