import { EINVAL, ESRCH, errnoName } from './errno.ts';
import type { Rule } from './rule.ts';
import { deviceWords, who } from './words.ts';

/** mdev drivers that cannot work without a VM: kvmgt and vfio_ap. */
const NEEDS_KVM = new Set(['intel_vgpu_mdev', 'vfio_ap_mdev']);

export const openWithoutKvm: Rule = {
  id: 'open-without-kvm',
  title: 'A device was opened before its VM was set',
  severity: 'info',
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
  basis: 'state',
  needs: ['vfio.group.set_kvm'],
  on: {
    'vfio.device.open:end'({ event, device, open }, { report }) {
      if (!device || !open || open.vm) return;
      if (event.ret === 0 && device.openCount === 1) {
        const needed = NEEDS_KVM.has(device.driver);
        report({
          device,
          task: open.task,
          severity: needed ? 'error' : 'info',
          says:
            `${who(open.task)} opened ${deviceWords(device)} without a VM. The driver ${device.driver} ` +
            `${needed ? 'needs one and' : 'does not insist on one, but'} will not learn of a VM that ` +
            'is set later, until the device has been closed.',
        });
      } else if (event.ret === -ESRCH || event.ret === -EINVAL) {
        if (!NEEDS_KVM.has(device.driver)) return;
        report({
          device,
          task: open.task,
          severity: 'error',
          says:
            `${device.driver} refused to open ${deviceWords(device)} for ${who(open.task)} ` +
            `(${errnoName(-event.ret)}): no VM was set for its group.`,
        });
      }
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
        tell(story) {
          const device = story.create(story.parent());
          const vm = story.createVm();
          story.open(device, { vm });
          story.open(device, { vm });
        },
      },
      {
        title: 'another driver fails for another reason',
        tell(story) {
          const opening = story.openBegins(story.create(story.parent()));
          story.openEnds(opening, { error: EINVAL });
        },
      },
    ],
  },
};
