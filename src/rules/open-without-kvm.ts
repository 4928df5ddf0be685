import { EINVAL, ESRCH, errnoName } from '../engine/errno.ts';
import { driverOf, refusalOf } from '../engine/refusal.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, who } from '../engine/words.ts';

export const openWithoutKvm: Rule = {
  id: 'open-without-kvm',
  title: 'A device was opened before its VM was set',
  severity: 'info',
  severityVaries:
    'An error for a driver that needs a VM (`rules.drivers_needing_kvm`), whether it refuses ' +
    'or not; on 5.10 only when it refuses, for there it may be notified of a VM later.',
  description:
    'VFIO reads the VM of a device at its first open, and only then. A VMM that opens the ' +
    'device first and adds the group to KVM later leaves the driver without a VM for as long ' +
    'as the device is open. Drivers that need one (Intel vGPU, s390 vfio-ap) refuse the open. ' +
    'For user-space drivers such as DPDK, which have no VM, this is normal.',
  remediation:
    'In a VMM, create the kvm-vfio device and add the group to it before VFIO_GROUP_GET_DEVICE_FD.',
  references:
    'vfio: remove the KVM notifier, in the thread vfio-pci/zdev: add open/close device hooks (Jason ' +
    'Gunthorpe and Matthew Rosato, May 2022); vfio_df_group_open() in drivers/vfio/group.c',
  evidence: 'Who opened it, and the driver.',
  occurrences:
    'the program and the driver, where the driver does not need a VM: a process that opens many ' +
    'devices without one is a single violation; else the device',
  traits: ['driversAreNotified'],
  provocation: {
    by: 'user',
    how: 'A device is opened whose group has no VM set.',
  },
  basis: 'state',
  needs: ['vfio.group.set_kvm'],
  optional: ['vfio.cdev.bind'],
  on: {
    'vfio.device.open:end'({ event, device, open }, { world, host, drivers, report }) {
      if (event.ret !== 0 || !device || !open || open.vm || device.openCount !== 1) return;
      // The group had a VM, and it could not be captured: that is kvm-capture-refused.
      if (device.vmOffered) return;
      const isNotified = host.traits.driversAreNotified;
      // Then the VM is that of the group, which may have been set before the agent started.
      if (
        isNotified &&
        !world.groups.get(device.groupId)?.setAt &&
        world.qualityOf(device) !== 'observed'
      )
        return;
      const isNeeded = drivers.needKvm.has(driverOf(device));
      const wants = isNeeded ? 'needs one' : 'does not require one';
      report({
        device,
        task: open.task,
        severity: isNeeded && !isNotified ? 'error' : 'info',
        ...(isNeeded ? {} : { sameAs: `${open.task.comm} ${open.task.uid} ${driverOf(device)}` }),
        message:
          `${who(open.task)} opened ${deviceWords(device)} without a VM. The driver ` +
          `${driverOf(device)} ${wants}, ` +
          (isNotified
            ? 'and may be notified of one later.'
            : `${isNeeded ? 'and' : 'but'} will not get a VM that is set later, until the device ` +
              'has been closed.'),
      });
    },
    'vfio.device.get_fd:end': checkRefusal,
    'vfio.cdev.bind:end': checkRefusal,
  },
  examples: {
    fires: [
      {
        title: 'a first open with no VM set',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()));
        },
      },
      {
        title: 'a vGPU refuses to be opened without a VM',
        run(scenario) {
          const parent = scenario.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const opening = scenario.openBegins(scenario.create(parent));
          scenario.openEnds(opening, { error: ESRCH });
        },
      },
      {
        title: 'a driver that needs a VM can be opened without one',
        run(scenario) {
          scenario.open(
            scenario.create(scenario.parent({ name: 'matrix', driver: 'vfio_ap_mdev' })),
          );
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the VM is set first',
        run(scenario) {
          scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
        },
      },
      {
        title: 'a second open adds nothing to the first',
        also: ['nested-open'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.open(device, { vm });
          scenario.open(device, { vm });
        },
      },
      {
        title: 'a driver that needs a VM fails for another reason',
        also: ['open-failed'],
        run(scenario) {
          const parent = scenario.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const opening = scenario.openBegins(scenario.create(parent), { vm: scenario.createVm() });
          scenario.openEnds(opening, { error: EINVAL });
        },
      },
      {
        title: 'its group has no container: its driver was not even called',
        also: ['open-failed'],
        run(scenario) {
          const parent = scenario.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          scenario.getFdFails(scenario.create(parent), EINVAL);
        },
      },
      {
        title: 'the VM of its group was being destroyed: that is kvm-capture-refused',
        also: ['kvm-capture-refused'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          const vm = scenario.createVm();
          scenario.setKvm(device, vm);
          scenario.closeVm(vm);
          scenario.open(device);
        },
      },
      {
        title: 'another driver fails for another reason',
        also: ['open-failed'],
        run(scenario) {
          const opening = scenario.openBegins(scenario.create(scenario.parent()));
          scenario.openEnds(opening, { error: EINVAL });
        },
      },
    ],
  },
};

function checkRefusal(transition: ObservedTransition, context: RuleContext): void {
  if (refusalOf(transition, context)?.because !== 'no VM') return;
  const { event, device, request, cdev } = transition;
  if (!device) return;
  const isUnsure = event.ret === -EINVAL && !cdev;
  context.report({
    device,
    task: request?.task,
    severity: 'error',
    message:
      `${driverOf(device)} refused to open ${deviceWords(device)} for ${who(request?.task)} ` +
      `(${errnoName(-event.ret)}): no VM is set for its ${cdev ? 'cdev' : 'group'}, and the driver needs one.` +
      (isUnsure ? ' A group without a container gets the same errno.' : ''),
  });
}
