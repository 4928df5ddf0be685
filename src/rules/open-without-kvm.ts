import { EINVAL, ESRCH, errnoName } from './errno.ts';
import { driverOf, refusalOf } from './refusal.ts';
import type { Rule } from './rule.ts';
import { deviceWords, who } from './words.ts';

export const openWithoutKvm: Rule = {
  id: 'open-without-kvm',
  title: 'A device was opened before its VM was set',
  severity: 'info',
  severityVaries:
    'An error for a driver that needs a VM (`rules.drivers_needing_kvm`), whether it refuses or not; ' +
    'on 5.10 only when it refuses, for there it may be told of a VM later.',
  meaning:
    'VFIO remembers the VM of a device at its first open, and only then. A VMM that opens the device ' +
    'first and tells KVM about the group later leaves the driver without a VM for the whole time the ' +
    'device is open. Drivers that need one (Intel vGPU, s390 vfio-ap) refuse the open. For user-space ' +
    'drivers such as DPDK, which have no VM, this is normal.',
  advice:
    'In a VMM: create the kvm-vfio device and add the group to it before VFIO_GROUP_GET_DEVICE_FD.',
  origin:
    'vfio: remove the KVM notifier, in the thread vfio-pci/zdev: add open/close device hooks (Jason ' +
    'Gunthorpe and Matthew Rosato, May 2022); vfio_df_group_open() in drivers/vfio/group.c',
  evidence: 'Who opened it, and the driver.',
  provocation: {
    by: 'user',
    how: 'A device is opened whose group was told no VM.',
  },
  basis: 'state',
  needs: ['vfio.group.set_kvm'],
  on: {
    'vfio.device.open:end'({ event, device, open }, { world, host, drivers, report }) {
      if (event.ret !== 0 || !device || !open || open.vm || device.openCount !== 1) return;
      // There was one, and it could not be had: that is kvm-capture-refused.
      if (device.vmOffered) return;
      const isToldLate = host.kernel[0] < 6;
      // There the VM is that of the group, which may have been told before anybody watched.
      if (
        isToldLate &&
        !world.groups.get(device.groupId)?.setAt &&
        world.qualityOf(device) !== 'observed'
      )
        return;
      const isNeeded = drivers.needKvm.has(driverOf(device));
      const wants = isNeeded ? 'needs one' : 'does not insist on one';
      report({
        device,
        task: open.task,
        severity: isNeeded && !isToldLate ? 'error' : 'info',
        says:
          `${who(open.task)} opened ${deviceWords(device)} without a VM. The driver ` +
          `${driverOf(device)} ${wants}, ` +
          (isToldLate
            ? 'and may be told of it later.'
            : `${isNeeded ? 'and' : 'but'} will not learn of a VM that is set later, until the device ` +
              'has been closed.'),
      });
    },
    'vfio.device.get_fd:end'(moment, context) {
      if (refusalOf(moment, context)?.because !== 'no VM') return;
      const { event, device, request } = moment;
      if (!device) return;
      context.report({
        device,
        task: request?.task,
        severity: 'error',
        says:
          `${driverOf(device)} refused to open ${deviceWords(device)} for ${who(request?.task)} ` +
          `(${errnoName(-event.ret)}): no VM is set for its group, and the driver needs one.` +
          (event.ret === -EINVAL ? ' A group without a container gets the same errno.' : ''),
      });
    },
  },
  examples: {
    fires: [
      {
        title: 'a first open with no VM set',
        tell(story) {
          story.open(story.create(story.parent()));
        },
      },
      {
        title: 'a vGPU refuses to be opened without a VM',
        tell(story) {
          const parent = story.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const opening = story.openBegins(story.create(parent));
          story.openEnds(opening, { error: ESRCH });
        },
      },
      {
        title: 'a driver that needs a VM lets itself be opened without one',
        tell(story) {
          story.open(story.create(story.parent({ name: 'matrix', driver: 'vfio_ap_mdev' })));
        },
      },
    ],
    silent: [
      {
        title: 'the VM is set first',
        tell(story) {
          story.open(story.create(story.parent()), { vm: story.createVm() });
        },
      },
      {
        title: 'a second open adds nothing to the first',
        also: ['nested-open'],
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.open(device, { vm });
          story.open(device, { vm });
        },
      },
      {
        title: 'a driver that needs a VM fails for another reason',
        also: ['open-failed'],
        tell(story) {
          const parent = story.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          const opening = story.openBegins(story.create(parent), { vm: story.createVm() });
          story.openEnds(opening, { error: EINVAL });
        },
      },
      {
        title: 'its group has no container: its driver was not even asked',
        also: ['open-failed'],
        tell(story) {
          const parent = story.parent({ name: '0000:00:02.0', driver: 'intel_vgpu_mdev' });
          story.getFdFails(story.create(parent), EINVAL);
        },
      },
      {
        title: 'the VM of its group was on its way out: that is kvm-capture-refused',
        also: ['kvm-capture-refused'],
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.setKvm(device, vm);
          story.closeVm(vm);
          story.open(device);
        },
      },
      {
        title: 'another driver fails for another reason',
        also: ['open-failed'],
        tell(story) {
          const opening = story.openBegins(story.create(story.parent()));
          story.openEnds(opening, { error: EINVAL });
        },
      },
    ],
  },
};
