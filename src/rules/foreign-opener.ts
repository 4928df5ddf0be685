import type { Device, Task, Vm } from '../lifecycle/objects.ts';
import { EIO, ESRCH } from './errno.ts';
import { driverOf, refusalOf } from './refusal.ts';
import type { Rule } from './rule.ts';
import { deviceWords, vmWords, who } from './words.ts';

export const foreignOpener: Rule = {
  id: 'foreign-opener',
  title: 'A device was opened for the VM of another process',
  severity: 'warning',
  severityVaries:
    'Information when a driver allows it that does not need a VM (`rules.drivers_needing_kvm`): it ' +
    'will not touch the memory of the guest by way of KVM.',
  meaning:
    'The process that opened the device first does not share the memory of the VM that its group ' +
    'belongs to. Drivers that work with the memory of the guest take that of their opener for it: ' +
    'Intel GVT refuses with ESRCH for that reason, others may translate addresses of one process with ' +
    'the tables of another. A child that inherited the group file is the usual case.',
  advice:
    'Let the process that made the VM ask for the device file. A helper that opens devices for a VMM ' +
    'has to do so before the group is told its VM, or to leave that to the VMM.',
  origin:
    'intel_vgpu_open_device() in drivers/gpu/drm/i915/gvt/kvmgt.c, which compares kvm->mm with that of ' +
    'its caller, and the thread vfio-pci/zdev: add open/close device hooks (2022)',
  evidence: 'Who opened the device, and who made the VM.',
  kernels: {
    from: [6, 0],
    because:
      'a device has no VM there until its driver asks for one, so there is nothing to compare',
  },
  provocation: {
    by: 'user',
    how: 'A child of the VMM asks for the device through the group file that it inherited.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close'],
  on: {
    'vfio.device.get_fd:end'(moment, context) {
      const refusal = refusalOf(moment, context);
      if (refusal?.because !== 'foreign') return;
      const { device, request } = moment;
      if (!device) return;
      const what = `could not open ${deviceWords(device)}: ESRCH from its driver ${driverOf(device)}`;
      const says = `${sentence(request?.task, what, refusal.vm)}.`;
      context.report({ device, vm: refusal.vm, task: request?.task, says });
    },
    'vfio.device.open:end'({ event, device, open }, { drivers, report }) {
      // Of a later open only nested-open speaks: the VM was settled by the first.
      if (event.ret !== 0 || !device || !open?.foreign || !open.vm || device.openCount !== 1)
        return;
      const isNeeded = drivers.needKvm.has(driverOf(device));
      report({
        device,
        vm: open.vm,
        task: open.task,
        severity: isNeeded ? 'warning' : 'info',
        says: `${sentence(open.task, `opened ${deviceWords(device)}`, open.vm)}${note(device, isNeeded)}.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'a child opens a device for the VM of its parent',
        tell(story) {
          const vm = story.createVm();
          story.open(story.create(story.parent()), { vm, as: { pid: 601, comm: 'child' } });
        },
      },
      {
        title: 'a vGPU refuses it',
        tell(story) {
          const parent = story.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const as = { pid: 601, comm: 'child' };
          const opening = story.openBegins(story.create(parent), { vm: story.createVm(), as });
          story.openEnds(opening, { error: ESRCH });
        },
      },
    ],
    silent: [
      {
        title: 'a thread of the VMM opens it, or a process that shares its memory',
        tell(story) {
          const vm = story.createVm();
          const as = { pid: 601, comm: 'qemu', memory: vm.task.pid };
          story.open(story.create(story.parent()), { vm, as });
        },
      },
      {
        title: 'a helper opens it and passes it on, before the group is told its VM',
        also: ['open-without-kvm', 'kvm-set-after-open'],
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { as: { pid: 601, comm: 'helper' } });
          story.setKvm(device, story.createVm());
        },
      },
      {
        title: 'opened once more by another process: that is nested-open',
        also: ['nested-open'],
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.open(device, { vm });
          story.open(device, { vm, as: { pid: 601, comm: 'child' } });
        },
      },
      {
        title: 'a child inherits the device file and is the one to close it',
        tell(story) {
          const open = story.open(story.create(story.parent()), { vm: story.createVm() });
          story.close({ ...open, task: { pid: 601, comm: 'child' } });
        },
      },
      {
        title: 'refused for another reason: that is open-failed',
        also: ['open-failed'],
        tell(story) {
          const as = { pid: 601, comm: 'child' };
          const vm = story.createVm();
          story.openEnds(story.openBegins(story.create(story.parent()), { vm, as }), {
            error: EIO,
          });
        },
      },
    ],
  },
};

function sentence(task: Task | undefined, did: string, vm: Vm): string {
  return `${who(task)} ${did}. Its group belongs to ${vmWords(vm)}, whose memory is another`;
}

function note(device: Device, isNeeded: boolean): string {
  return isNeeded
    ? `, and ${driverOf(device)} works with the memory of the guest`
    : `, for which ${driverOf(device)} is not known to care`;
}
