import type { Rule } from '../engine/rule.ts';
import { deviceWords, openWords, vmWords, who } from '../engine/words.ts';
import { taskOf } from '../events/task.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';

export const kvmSetAfterOpen: Rule = {
  id: 'kvm-set-after-open',
  title: "A group's VM was set after its device was opened",
  severity: 'warning',
  severityVaries:
    'Info on 5.10, where drivers that register for it are notified of a VM at any time.',
  description:
    'VFIO reads the VM of a device once, at its first open. The VM of the group was set only ' +
    'after that, so the device works without one, or with the one that it had, until every ' +
    'file of it is closed. Nothing fails: whatever the driver does for a VM (tracking its ' +
    'memory, letting its interrupts bypass the host) is silently missing.',
  remediation:
    'Unplug the device and plug it in again: that repairs a running VM if the VMM then adds the group ' +
    'before it opens the device. In the VMM, add the group to the kvm-vfio device before VFIO_GROUP_GET_DEVICE_FD.',
  references:
    'vfio: remove the KVM notifier, in the thread vfio-pci/zdev: add open/close device hooks (2022), ' +
    'where it was agreed that the VM is settled at the first open; vfio_df_group_open() in ' +
    'drivers/vfio/group.c',
  evidence: 'Who set the VM of the group, who has the device open, and for which VM, if any.',
  traits: ['driversAreNotified'],
  notByCdev: 'kvm-set-after-bind reports it',
  provocation: {
    by: 'user',
    how: 'The device is opened first, and its group is added to kvm-vfio then.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close', 'vfio.device.kvm_capture'],
  on: {
    'vfio.group.set_kvm:begin'({ group, vmBefore, event }, { host, report }) {
      const vm = group?.vm;
      // kvm-changed-while-open reports the change from one VM to another.
      if (!group || !vm || (vmBefore && !vmBefore.isGone)) return;
      for (const device of group.devices) {
        if (!device.isOpen || hasIt(device, vm, vmBefore)) continue;
        const isNotified = host.traits.driversAreNotified;
        report({
          device,
          vm,
          task: taskOf(event),
          severity: isNotified ? 'info' : 'warning',
          message:
            `${who(taskOf(event))} set ${vmWords(vm)} as the VM of group ${group.id}, but ` +
            `${deviceWords(device)} was already ${openWords(device)}. ` +
            (isNotified
              ? 'Its driver is notified, if it registered for that.'
              : 'The device will not get that VM until all of its files have been closed.'),
        });
      }
    },
  },
  examples: {
    fires: [
      {
        title: 'the device is opened first',
        also: ['open-without-kvm'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device);
          scenario.setKvm(device, scenario.createVm());
        },
      },
      {
        title: 'opened for one VM, and its group is given to another later',
        also: ['kvm-cleared-while-open'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.clearKvm(device);
          scenario.setKvm(device, scenario.createVm({ as: { pid: 601, comm: 'qemu' } }));
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the right order',
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.setKvm(device, scenario.createVm());
          scenario.open(device);
        },
      },
      {
        title: 'the VM for which the device was opened is set again',
        also: ['kvm-cleared-while-open'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.open(device, { vm });
          scenario.clearKvm(device);
          scenario.setKvm(device, vm);
        },
      },
      {
        title: 'opened without a VM before, but closed by then',
        also: ['open-without-kvm'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.close(scenario.open(device));
          scenario.setKvm(device, vm);
          scenario.open(device, { vm });
        },
      },
      {
        title: 'the open was refused',
        also: ['open-failed'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.openEnds(scenario.openBegins(device), { error: 5 });
          scenario.setKvm(device, scenario.createVm());
        },
      },
      {
        title: 'the VM of another group is set',
        also: ['open-without-kvm'],
        run(scenario) {
          const parent = scenario.parent();
          const [used, other] = [scenario.create(parent), scenario.create(parent)];
          scenario.open(used, { as: { pid: 900, comm: 'dpdk' } });
          scenario.setKvm(other, scenario.createVm());
        },
      },
      {
        title: 'from one VM to another: that is kvm-changed-while-open',
        also: ['kvm-changed-while-open'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.setKvm(device, scenario.createVm({ as: { pid: 601, comm: 'qemu' } }));
        },
      },
    ],
  },
};

/** On a kernel whose core keeps no VM of a device, the device has that of its group. */
function hasIt(device: Device, vm: Vm, vmBefore: Vm | undefined): boolean {
  return (device.vmOfGroup ? vmBefore : device.vm) === vm;
}
