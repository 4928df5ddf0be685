// SPDX-License-Identifier: Apache-2.0
/** Violations of an IOMMU group that two devices share. */
import type { Provocation } from './provocation.ts';
import type { ProvocationSession } from './session.ts';

/** A bridge that isolates nothing, so that the two devices behind it are in one group; and one on its own. */
export const HARDWARE = {
  devices: [
    'intel-iommu,intremap=on',
    'pcie-pci-bridge,id=pb,addr=9',
    'edu,bus=pb,addr=1',
    'virtio-rng-pci,bus=pb,addr=2',
    'pci-testdev,addr=a',
  ],
  append: ['intel_iommu=on'],
} as const;

/** QEMU's edu device, which no driver of the host takes. */
const EDU_ID = '0x1234:0x11e8';

/** Binds the edu device to vfio-pci. @returns its address, its group, and the address of its sibling */
async function bindEdu(session: ProvocationSession) {
  await session.sh('modprobe vfio-pci');
  const output = await session.sh(
    `for d in /sys/bus/pci/devices/*; do [ "$(cat $d/vendor):$(cat $d/device)" = ${EDU_ID} ] && break; done; ` +
      'echo vfio-pci > $d/driver_override; basename $d > /sys/bus/pci/drivers_probe; ' +
      'basename $d; basename $(readlink $d/iommu_group); ' +
      'for s in $d/iommu_group/devices/*; do [ -e $s/driver ] && ' +
      'case $(readlink $s/driver) in */virtio-pci) basename $s;; esac; done; true',
  );
  const [device = '', group = '', sibling = ''] = output.trim().split(/\s+/);
  return { device, group, sibling };
}

export const GROUPS: readonly Provocation[] = [
  {
    rules: ['group-not-viable'],
    how: 'a group is opened and closed while a sibling of its device is bound to a driver of the host',
    async run(session) {
      const { device, group, sibling } = await bindEdu(session);
      await session.by('qemu-asks', `exec 3<>/dev/vfio/${group}; exec 3<&-`);
      await session.expect(
        'group-not-viable',
        { device },
        {
          severity: 'warning',
          evidence: ['vfio.register:end'],
          process: 'qemu-asks',
          message: new RegExp(`${sibling} is bound to virtio-pci, a driver of the host`),
        },
      );
      await session.sh(`echo ${device} > /sys/bus/pci/drivers/vfio-pci/unbind`);
    },
  },
  {
    rules: ['open-failed', 'group-not-viable'],
    how: 'a group is opened that another process has open, and no device of it',
    async run(session) {
      const { device, group } = await bindEdu(session);
      const file = `/dev/vfio/${group}`;
      await session.by(
        'spdk-first',
        `exec 3<>${file}; ! sh -c 'printf second > /proc/self/comm; exec 4<>${file}'`,
      );
      await session.expect(
        'open-failed',
        { device },
        {
          severity: 'warning',
          evidence: ['vfio.register:end'],
          process: 'second',
          message:
            /EBUSY, because spdk-first \(pid \d+\)(, which)? opened it .*none of its devices/,
        },
      );
      await session.expect(
        'group-not-viable',
        { device },
        { severity: 'warning', evidence: ['vfio.register:end'], process: 'spdk-first' },
      );
      await session.sh(`echo ${device} > /sys/bus/pci/drivers/vfio-pci/unbind`);
    },
  },
];
