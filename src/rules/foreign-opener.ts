import { EIO, ESRCH } from '../engine/errno.ts';
import { driverOf, refusalOf } from '../engine/refusal.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, vmWords, who } from '../engine/words.ts';
import type { Task } from '../events/task.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';

export const foreignOpener: Rule = {
  id: 'foreign-opener',
  title: 'A device was opened for the VM of another process',
  severity: 'warning',
  severityVaries:
    'Info when a driver allows it that does not need a VM (`rules.drivers_needing_kvm`): it ' +
    'will not access the memory of the guest through KVM.',
  description:
    'The process that opened the device first does not share the memory of the VM that its ' +
    'group belongs to. Drivers that work with the memory of the guest assume that it is the ' +
    'memory of their opener: Intel GVT refuses with ESRCH for that reason, others may ' +
    'translate addresses of one process with the tables of another. A child that inherited the ' +
    'group file is the usual case.',
  remediation:
    'Let the process that created the VM open the device. A helper that opens devices for a ' +
    'VMM has to do so before the VM of the group is set, or leave it to the VMM.',
  references:
    'intel_vgpu_open_device() in drivers/gpu/drm/i915/gvt/kvmgt.c, which compares kvm->mm with that of ' +
    'its caller, and the thread vfio-pci/zdev: add open/close device hooks (2022)',
  evidence: 'Who opened the device, and who created the VM.',
  blindSpot: 'A device that was opened by one process and passed on to another.',
  kernels: {
    where: { driversAreNotified: false },
    because: 'a device has no VM until its driver asks for one, so there is nothing to compare',
  },
  provocation: {
    by: 'user',
    how: 'A child of the VMM opens the device through the group file that it inherited.',
  },
  basis: 'state',
  needs: ['vfio.device.open', 'vfio.device.close'],
  optional: ['vfio.cdev.bind'],
  on: {
    'vfio.device.get_fd:end': checkRefusal,
    'vfio.cdev.bind:end': checkRefusal,
    'vfio.device.open:end'({ event, device, open }, { drivers, report }) {
      // Later opens are left to nested-open: the VM was settled by the first.
      if (event.ret !== 0 || !device || !open?.foreign || !open.vm || device.openCount !== 1)
        return;
      const isNeeded = drivers.needKvm.has(driverOf(device));
      report({
        device,
        vm: open.vm,
        task: open.task,
        severity: isNeeded ? 'warning' : 'info',
        message: `${sentence(open.task, `opened ${deviceWords(device)}`, open.vm)}${note(device, isNeeded)}.`,
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'a child opens a device for the VM of its parent',
        run(scenario) {
          const vm = scenario.createVm();
          scenario.open(scenario.create(scenario.parent()), {
            vm,
            as: { pid: 601, comm: 'child' },
          });
        },
      },
      {
        title: 'a vGPU refuses it',
        run(scenario) {
          const parent = scenario.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const as = { pid: 601, comm: 'child' };
          const opening = scenario.openBegins(scenario.create(parent), {
            vm: scenario.createVm(),
            as,
          });
          scenario.openEnds(opening, { error: ESRCH });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'a thread of the VMM opens it, or a process that shares its memory',
        run(scenario) {
          const vm = scenario.createVm();
          const as = { pid: 601, comm: 'qemu', memory: vm.task.pid };
          scenario.open(scenario.create(scenario.parent()), { vm, as });
        },
      },
      {
        title: 'a helper opens it and passes it on, before the VM of the group is set',
        also: ['open-without-kvm', 'kvm-set-after-open'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { as: { pid: 601, comm: 'helper' } });
          scenario.setKvm(device, scenario.createVm());
        },
      },
      {
        title: 'opened again by another process: that is nested-open',
        also: ['nested-open'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.open(device, { vm });
          scenario.open(device, { vm, as: { pid: 601, comm: 'child' } });
        },
      },
      {
        title: 'a child inherits the device file and is the one to close it',
        run(scenario) {
          const open = scenario.open(scenario.create(scenario.parent()), {
            vm: scenario.createVm(),
          });
          scenario.close({ ...open, task: { pid: 601, comm: 'child' } });
        },
      },
      {
        title: 'refused for another reason: that is open-failed',
        also: ['open-failed'],
        run(scenario) {
          const as = { pid: 601, comm: 'child' };
          const vm = scenario.createVm();
          scenario.openEnds(scenario.openBegins(scenario.create(scenario.parent()), { vm, as }), {
            error: EIO,
          });
        },
      },
    ],
  },
};

function sentence(task: Task | undefined, did: string, vm: Vm): string {
  return `${who(task)} ${did}. Its group belongs to ${vmWords(vm)}, whose memory it does not share`;
}

function note(device: Device, isNeeded: boolean): string {
  return isNeeded
    ? `, and ${driverOf(device)} works with the memory of the guest`
    : `; ${driverOf(device)} is not known to need that`;
}

function checkRefusal(transition: ObservedTransition, context: RuleContext): void {
  const refusal = refusalOf(transition, context);
  if (refusal?.because !== 'foreign') return;
  const { device, request } = transition;
  if (!device) return;
  const what = `could not open ${deviceWords(device)}: ESRCH from its driver ${driverOf(device)}`;
  const message = `${sentence(request?.task, what, refusal.vm)}.`;
  context.report({ device, vm: refusal.vm, task: request?.task, message });
}
