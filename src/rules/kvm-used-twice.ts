import type { Device, Vm } from '../lifecycle/objects.ts';
import { EEXIST, EPERM, errnoName } from './errno.ts';
import { driverOf, refusalOf, siblingWith } from './refusal.ts';
import type { Rule } from './rule.ts';
import { deviceWords, openers, vmWords, who } from './words.ts';

export const kvmUsedTwice: Rule = {
  id: 'kvm-used-twice',
  title: 'A VM was given two devices of a driver that allows it one',
  severity: 'warning',
  meaning:
    'Some drivers can serve a VM with one of their devices only: Intel GVT watches the memory of the ' +
    'guest for one vGPU of a GPU, s390 vfio-ap puts one matrix of crypto queues into the VM. The open ' +
    'of a second device for the same VM is refused, with an errno that says nothing of the kind; or, ' +
    'where the driver fails to look, goes on and takes the place of the first.',
  advice:
    'Take one of the two devices out of the configuration of that VM. If one device was meant to ' +
    'replace the other, the first has to be closed before the second is opened.',
  origin:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), on __kvmgt_vgpu_exist() in ' +
    'drivers/gpu/drm/i915/gvt/kvmgt.c; vfio_ap_mdev_set_kvm() in drivers/s390/crypto/vfio_ap_ops.c',
  evidence: 'The other device of the VM, who has it open, and who asked for the second.',
  provocation: {
    by: 'driver',
    how: 'The driver refuses with EEXIST to be opened for a VM that has another of its devices open.',
  },
  basis: 'state',
  needs: ['vfio.device.close', 'vfio.group.set_kvm'],
  on: {
    'vfio.device.get_fd:end'(moment, context) {
      const refusal = refusalOf(moment, context);
      if (refusal?.because !== 'used twice') return;
      const { device, request, event } = moment;
      if (!device) return;
      context.report({
        device,
        vm: refusal.vm,
        task: request?.task,
        says:
          `${who(request?.task)} could not open ${deviceWords(device)}: ${errnoName(-event.ret)}, ` +
          because(device, refusal.other, refusal.vm),
      });
    },
    'vfio.device.open:end'({ event, device, open }, { drivers, report }) {
      const vm = open?.vm;
      if (event.ret !== 0 || !device || !vm || device.openCount !== 1) return;
      if (!drivers.oneDevicePerVm.has(driverOf(device))) return;
      const other = siblingWith(vm, device);
      if (!other) return;
      report({
        device,
        vm,
        task: open.task,
        says:
          `${who(open.task)} opened ${deviceWords(device)}, which its driver should have refused, ` +
          because(device, other, vm),
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'a second vGPU for one VM is refused',
        tell(story) {
          const parent = story.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const vm = story.createVm();
          story.open(story.create(parent), { vm });
          story.openEnds(story.openBegins(story.create(parent), { vm }), { error: EEXIST });
        },
      },
      {
        title: 'a second matrix for one VM is refused',
        tell(story) {
          const parent = story.parent({ name: 'matrix', driver: 'vfio_ap_mdev' });
          const vm = story.createVm();
          story.open(story.create(parent), { vm });
          story.openEnds(story.openBegins(story.create(parent), { vm }), { error: EPERM });
        },
      },
      {
        title: 'a driver that should have refused the second did not',
        tell(story) {
          const parent = story.parent({ name: 'matrix', driver: 'vfio_ap_mdev' });
          const vm = story.createVm();
          story.open(story.create(parent), { vm });
          story.open(story.create(parent), { vm });
        },
      },
    ],
    silent: [
      {
        title: 'two devices for one VM of a driver that allows it',
        tell(story) {
          const parent = story.parent();
          const vm = story.createVm();
          story.open(story.create(parent), { vm });
          story.open(story.create(parent), { vm });
        },
      },
      {
        title: 'a vGPU of another GPU',
        tell(story) {
          const driver = 'intel_vgpu_mdev';
          const vm = story.createVm();
          story.open(story.create(story.parent({ name: '0000:00:02.0', driver })), { vm });
          story.open(story.create(story.parent({ name: '0000:03:00.0', driver })), { vm });
        },
      },
      {
        title: 'two VMs with a vGPU each',
        tell(story) {
          const parent = story.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          story.open(story.create(parent), { vm: story.createVm() });
          const as = { pid: 601, comm: 'qemu' };
          story.open(story.create(parent), { vm: story.createVm({ as }), as });
        },
      },
      {
        title: 'the first was closed before',
        tell(story) {
          const parent = story.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const vm = story.createVm();
          story.close(story.open(story.create(parent), { vm }));
          story.open(story.create(parent), { vm });
        },
      },
      {
        title: 'the same vGPU is opened twice',
        also: ['nested-open'],
        tell(story) {
          const parent = story.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const device = story.create(parent);
          const vm = story.createVm();
          story.open(device, { vm });
          story.open(device, { vm });
        },
      },
      {
        title: 'refused with that errno, but the VM has no other device',
        also: ['open-failed'],
        tell(story) {
          const opening = story.openBegins(story.create(story.parent()), { vm: story.createVm() });
          story.openEnds(opening, { error: EPERM });
        },
      },
    ],
  },
};

function because(device: Device, other: Device, vm: Vm): string {
  return (
    `because ${vmWords(vm)} has ${deviceWords(other)} of the same driver (${driverOf(device)}) ` +
    `already, held open by ${openers(other)}.`
  );
}
