import type { Rule } from '../engine/rule.ts';
import { STALL_SEVERITY, stallOf } from '../engine/stall.ts';
import { POINT } from '../events/wire.gen.ts';
import type { Call } from '../lifecycle/calls.ts';
import type { World } from '../lifecycle/world.ts';
import { attachCdevBegins, attachCdevEnds, bindCdev, openCdev } from '../scenario/cdev.ts';
import { destroyVmBegins, destroyVmEnds } from '../scenario/kvm.ts';

export const callStall: Rule = {
  id: 'call-stall',
  title: 'A call on a VM, group, address space, parent or module does not return',
  severity: 'warning',
  severityVaries: STALL_SEVERITY,
  description:
    'A call that vfioscope observes has been running for long: the creation of a VM, the close of its ' +
    'last file descriptor, the open of a VFIO group or its detachment from a container, the attachment of a ' +
    'device to an address space of an iommufd or its detachment, the registration of a parent, or the unloading of a module. The process that made it is blocked ' +
    'in the kernel. Opens, closes, creations, bindings and removals of devices, and the ' +
    'destruction of VMs, have rules of their own.',
  remediation:
    'Read where the thread is blocked, and look for an older stalled call in ' +
    '`/api/v1/operations`: this one probably waits for a lock that the older one holds. An attachment may ' +
    'also take long because it pins the memory of a large VM: wait for it.',
  references:
    'kvm_dev_ioctl() and kvm_vm_release() in virt/kvm/kvm_main.c, vfio_group_fops_open() in drivers/vfio/group.c, ' +
    'vfio_df_ioctl_attach_pt() and vfio_df_ioctl_detach_pt() in drivers/vfio/device_cdev.c, ' +
    'mdev_register_parent() in drivers/vfio/mdev/mdev_core.c, delete_module() in kernel/module/main.c',
  evidence:
    'Which call has not returned, who made it, since when, and where its thread is blocked in the kernel; the events of the object.',
  blindSpot:
    'Calls that are not probed, such as an ioctl of a device or a write to its `reset` file.',
  provocation: {
    by: 'nothing',
    how: 'No correct kernel or driver blocks these calls for that long, and the test driver is not called by them.',
  },
  basis: 'state',
  ...stallOf({
    operations: [
      'vm_create',
      'vm_close',
      'group_open',
      'group_detach',
      'attach',
      'detach',
      'parent_register',
      'module_unload',
    ],
    threshold: 'callStall',
    isLeftOut,
  }),
  examples: {
    fires: [
      {
        title: 'the open of a group returns between two ticks, after longer than the threshold',
        run(scenario) {
          const { groupId } = scenario.create(scenario.parent());
          scenario.event('vfio.group.open:begin', { pid: 600, comm: 'qemu' }, { groupId });
          scenario.pass(30.5);
          scenario.event('vfio.group.open:end', { pid: 600, comm: 'qemu' }, { groupId });
        },
      },
      {
        title: 'the attachment to an address space does not return',
        also: ['open-without-kvm'],
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          bindCdev(scenario, cdev);
          attachCdevBegins(scenario, cdev);
          scenario.wait(40);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'an attachment that pins the memory of a large VM for some time',
        also: ['open-without-kvm'],
        run(scenario) {
          const cdev = openCdev(scenario, scenario.create(scenario.parent()));
          bindCdev(scenario, cdev);
          attachCdevBegins(scenario, cdev);
          scenario.wait(20);
          attachCdevEnds(scenario, cdev);
          scenario.wait(60);
        },
      },
      {
        title:
          'a module that is unloaded after the removal of its devices: that is parent-unregister-stall',
        also: ['create-stall', 'parent-unregister-stall'],
        run(scenario) {
          const rmmod = { pid: 500, comm: 'mdevctl' };
          const parent = scenario.parent();
          scenario.createBegins(parent, { as: { pid: 700, comm: 'mdevctl' } });
          scenario.event('module.unload:begin', rmmod, { names: { device: 'mtty' } });
          scenario.parentUnregisterBegins(parent);
          scenario.wait(40);
        },
      },
      {
        title: 'a VM whose destruction is slow: that is vm-destroy-stall',
        also: ['vm-destroy-stall'],
        run(scenario) {
          const vm = scenario.createVm();
          scenario.event('kvm.vm.fd_close:begin', vm.task, { kvm: vm.key, usersCount: 1 });
          destroyVmBegins(scenario, vm);
          scenario.wait(40);
          destroyVmEnds(scenario, vm);
          scenario.event('kvm.vm.fd_close:end', vm.task, { kvm: vm.key });
        },
      },
    ],
  },
};

/**
 * The close of a VM may destroy it, and a module that is unloaded unregisters its parents: these have rules
 * of their own. Once the unloading has returned, it is not known how much of its time that took.
 */
function isLeftOut(
  { point, tid, began, vm }: Readonly<Call>,
  { calls }: World,
  hasEnded: boolean,
): boolean {
  if (point === POINT.KVM_VM_FD_CLOSE) return vm !== undefined && vm.destroyBegan >= began;
  if (point !== POINT.MODULE_UNLOAD) return false;
  const isInNested =
    calls.of(tid, POINT.MDEV_PARENT_UNREGISTER) ?? calls.of(tid, POINT.VFIO_UNREGISTER);
  return hasEnded || isInNested !== undefined;
}
