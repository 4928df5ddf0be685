// SPDX-License-Identifier: Apache-2.0
/** What user space can do wrong by system calls alone, on the kernel's own sample drivers. */

import type { MomentName } from '../../../src/lifecycle/points.ts';
import { ACTS } from '../acts.ts';
import type { Provocation } from './provocation.ts';
import { inOrder, type Scene } from './scene.ts';

/** Acts of the end-to-end scenario, by the rules that they break. */
const OF_THE_SCENARIO: Readonly<Record<string, readonly string[]>> = {
  'one UUID twice, on the same parent and on another': ['duplicate-uuid'],
  'a device is opened before its group has a container': ['open-failed'],
  'a device is opened without a VM, and then a second time': ['open-without-kvm', 'nested-open'],
  'the VM is taken from a device that is open, then closed under it': [
    'kvm-cleared-while-open',
    'vm-pinned-by-device',
    'kvm-destroyed-while-captured',
  ],
  'a device is removed while a VM uses it, and its UUID wanted again': [
    'remove-stall',
    'uuid-held-by-dying-device',
    'open-during-unregister',
  ],
};

/** What must be in the evidence of the rules that these break. */
export const EVIDENCE: Readonly<Record<string, readonly MomentName[]>> = {
  'duplicate-uuid': [
    'mdev.create:begin',
    'mdev.create:end',
    'mdev.create:begin',
    'mdev.create:end',
  ],
  'open-failed': ['vfio.device.get_fd:end'],
  'nested-open': ['vfio.device.open:end', 'vfio.device.open:end'],
  'kvm-cleared-while-open': ['vfio.device.open:end', 'vfio.group.set_kvm:begin'],
  'vm-pinned-by-device': ['kvm.vm.init:end', 'vfio.device.open:end', 'kvm.vm.fd_close:begin'],
  'kvm-destroyed-while-captured': ['vfio.device.open:end', 'kvm.vm.destroy:begin'],
  'remove-stall': ['vfio.device.open:end', 'vfio.unregister:begin'],
  'uuid-held-by-dying-device': ['mdev.remove:begin', 'mdev.create:begin', 'mdev.create:end'],
  'open-during-unregister': ['vfio.unregister:begin', 'vfio.device.open:end'],
};

async function createOn(scene: Scene): Promise<string> {
  return (await scene.stage.create('mtty')).uuid;
}

export const BY_USER: readonly Provocation[] = [
  ...ACTS.filter(({ title }) => title in OF_THE_SCENARIO).map(({ title, play }) => ({
    rules: OF_THE_SCENARIO[title],
    how: title,
    play: ({ stage }: Scene) => play(stage),
  })),
  {
    rules: ['mdev-driverless'],
    how: 'the driver of an mdev is unbound from it',
    async play(scene) {
      const device = await createOn(scene);
      await scene.by('admin', `echo ${device} > /sys/bus/mdev/devices/${device}/driver/unbind`);
      await scene.expect(
        'mdev-driverless',
        { device },
        {
          severity: 'warning',
          evidence: ['mdev.create:end', 'mdev.unbind:begin', 'mdev.unbind:end'],
        },
      );
      await scene.remove(device);
      await scene.expectEnd('mdev-driverless', { device });
    },
  },
  {
    rules: ['kvm-set-after-open'],
    how: 'a device is opened first, and its group added to kvm-vfio then',
    async play(scene) {
      const device = await createOn(scene);
      const vmm = await scene.openGroup('qemu-late', device);
      await inOrder(vmm, [`device open d g ${device}`, 'vm create v', 'kvmvfio create v k']);
      await scene.expect(
        'open-without-kvm',
        { device },
        { severity: 'info', evidence: ['vfio.device.open:end'], process: 'qemu-late' },
      );
      await vmm.order('kvmvfio add k g');
      await scene.expect(
        'kvm-set-after-open',
        { device },
        {
          severity: scene.since(6, 0) ? 'warning' : 'info',
          evidence: ['vfio.device.open:end', 'vfio.group.set_kvm:begin'],
          process: 'qemu-late',
        },
      );
      await inOrder(vmm, ['close d', 'quit']);
      await scene.remove(device);
    },
  },
  {
    rules: ['kvm-changed-while-open'],
    how: 'a group whose device is open is added to kvm-vfio of a second VM',
    async play(scene) {
      const device = await createOn(scene);
      const vmm = await scene.openFor('qemu-twice', device);
      await inOrder(vmm, ['vm create v', 'kvmvfio create v k', 'kvmvfio add k a.group']);
      await scene.expect(
        'kvm-changed-while-open',
        { device },
        {
          severity: 'error',
          evidence: [
            'vfio.group.set_kvm:begin',
            'vfio.device.open:end',
            'vfio.group.set_kvm:begin',
          ],
          process: 'qemu-twice',
        },
      );
      await inOrder(vmm, ['close a.device', 'quit']);
      await scene.remove(device);
    },
  },
  {
    rules: ['unset-container-busy'],
    how: 'a group is to leave its container while its device is open',
    async play(scene) {
      const device = await createOn(scene);
      const vmm = await scene.openFor('qemu-hurry', device);
      await scene.stage.refused(vmm, 'group detach a.group', 'EBUSY');
      await scene.expect(
        'unset-container-busy',
        { device },
        { severity: 'info', evidence: ['vfio.device.open:end'], process: 'qemu-hurry' },
      );
      await vmm.order('stop a');
      await vmm.order('quit');
      await scene.remove(device);
    },
  },
  {
    rules: ['removed-by-another'],
    how: 'a device that a VM uses is removed by a process of another control group',
    async play(scene) {
      const device = await createOn(scene);
      const vmm = await scene.openFor('qemu-owned', device);
      const others = '/sys/fs/cgroup/others';
      await scene.sh(`mkdir -p ${others}`);
      const removal = scene.by(
        'intruder',
        `echo $$ > ${others}/cgroup.procs; echo 1 > /sys/bus/mdev/devices/${device}/remove`,
      );
      await scene.expect(
        'removed-by-another',
        { device },
        {
          severity: 'warning',
          evidence: ['mdev.create:begin', 'vfio.device.open:end', 'mdev.remove:begin'],
          process: 'intruder',
          holders: ['qemu-owned'],
        },
      );
      await vmm.order('close a.device');
      await vmm.order('quit');
      await removal;
    },
  },
];
