import { EEXIST, EPERM, errnoName } from '../engine/errno.ts';
import { driverOf, refusalOf, siblingWith } from '../engine/refusal.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, openWords, vmWords, who } from '../engine/words.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';

export const kvmUsedTwice: Rule = {
  id: 'kvm-used-twice',
  title: 'A VM was given two devices of a driver that allows it one',
  severity: 'warning',
  description:
    'Some drivers can serve a VM with one of their devices only: Intel GVT watches the memory ' +
    'of the guest for one vGPU of a GPU, s390 vfio-ap puts one matrix of crypto queues into ' +
    'the VM. The open of a second device for the same VM is refused, with an errno that does ' +
    'not say so; or, where the driver does not check, succeeds and replaces the first.',
  remediation:
    'Remove one of the two devices from the configuration of that VM. If one device was meant ' +
    'to replace the other, close the first before the second is opened.',
  references:
    'The thread vfio-pci/zdev: add open/close device hooks (2022), on __kvmgt_vgpu_exist() in ' +
    'drivers/gpu/drm/i915/gvt/kvmgt.c; vfio_ap_mdev_set_kvm() in drivers/s390/crypto/vfio_ap_ops.c',
  evidence: 'The other device of the VM, who has it open, and who requested the second.',
  provocation: {
    by: 'driver',
    how: 'The driver refuses with EEXIST to be opened for a VM that has another of its devices open.',
  },
  basis: 'state',
  needs: ['vfio.device.close', 'vfio.group.set_kvm'],
  optional: ['vfio.cdev.bind'],
  on: {
    'vfio.device.get_fd:end': checkRefusal,
    'vfio.cdev.bind:end': checkRefusal,
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
        message:
          `${who(open.task)} opened ${deviceWords(device)}, which its driver should have refused, ` +
          because(device, other, vm),
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'a second vGPU for one VM is refused',
        run(scenario) {
          const parent = scenario.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const vm = scenario.createVm();
          scenario.open(scenario.create(parent), { vm });
          scenario.openEnds(scenario.openBegins(scenario.create(parent), { vm }), {
            error: EEXIST,
          });
        },
      },
      {
        title: 'a second matrix for one VM is refused',
        run(scenario) {
          const parent = scenario.parent({ name: 'matrix', driver: 'vfio_ap_mdev' });
          const vm = scenario.createVm();
          scenario.open(scenario.create(parent), { vm });
          scenario.openEnds(scenario.openBegins(scenario.create(parent), { vm }), { error: EPERM });
        },
      },
      {
        title: 'a driver that should have refused the second did not',
        run(scenario) {
          const parent = scenario.parent({ name: 'matrix', driver: 'vfio_ap_mdev' });
          const vm = scenario.createVm();
          scenario.open(scenario.create(parent), { vm });
          scenario.open(scenario.create(parent), { vm });
        },
      },
    ],
    doesNotFire: [
      {
        title: 'two devices for one VM of a driver that allows it',
        run(scenario) {
          const parent = scenario.parent();
          const vm = scenario.createVm();
          scenario.open(scenario.create(parent), { vm });
          scenario.open(scenario.create(parent), { vm });
        },
      },
      {
        title: 'a vGPU of another GPU',
        run(scenario) {
          const driver = 'intel_vgpu_mdev';
          const vm = scenario.createVm();
          scenario.open(scenario.create(scenario.parent({ name: '0000:00:02.0', driver })), { vm });
          scenario.open(scenario.create(scenario.parent({ name: '0000:03:00.0', driver })), { vm });
        },
      },
      {
        title: 'two VMs with a vGPU each',
        run(scenario) {
          const parent = scenario.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          scenario.open(scenario.create(parent), { vm: scenario.createVm() });
          const as = { pid: 601, comm: 'qemu' };
          scenario.open(scenario.create(parent), { vm: scenario.createVm({ as }), as });
        },
      },
      {
        title: 'the first was closed before',
        run(scenario) {
          const parent = scenario.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const vm = scenario.createVm();
          scenario.close(scenario.open(scenario.create(parent), { vm }));
          scenario.open(scenario.create(parent), { vm });
        },
      },
      {
        title: 'the same vGPU is opened twice',
        also: ['nested-open'],
        run(scenario) {
          const parent = scenario.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const device = scenario.create(parent);
          const vm = scenario.createVm();
          scenario.open(device, { vm });
          scenario.open(device, { vm });
        },
      },
      {
        title: 'refused with that errno, but the VM has no other device',
        also: ['open-failed'],
        run(scenario) {
          const opening = scenario.openBegins(scenario.create(scenario.parent()), {
            vm: scenario.createVm(),
          });
          scenario.openEnds(opening, { error: EPERM });
        },
      },
    ],
  },
};

function because(device: Device, other: Device, vm: Vm): string {
  return (
    `because ${vmWords(vm)} has ${deviceWords(other)} of the same driver (${driverOf(device)}) ` +
    `already, ${openWords(other)}.`
  );
}

function checkRefusal(transition: ObservedTransition, context: RuleContext): void {
  const refusal = refusalOf(transition, context);
  if (refusal?.because !== 'used twice') return;
  const { device, request, event } = transition;
  if (!device) return;
  context.report({
    device,
    vm: refusal.vm,
    task: request?.task,
    message:
      `${who(request?.task)} could not open ${deviceWords(device)}: ${errnoName(-event.ret)}, ` +
      because(device, refusal.other, refusal.vm),
  });
}
