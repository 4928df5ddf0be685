// SPDX-License-Identifier: Apache-2.0
/** What goes wrong when a device is opened for a VM, or without one. */
import type { Provocation } from './provocation.ts';
import { inOrder } from './scene.ts';

/** rmmod looks at the count of references first, and then does not even ask the kernel. */
const DELETE_MODULE = 176;
const O_NONBLOCK = 0x800;
const EAGAIN = 11;
const UNLOAD_REFUSED =
  `my $module = "faulty"; my $ret = syscall(${DELETE_MODULE}, $module, ${O_NONBLOCK}); ` +
  `exit($ret == -1 && $! == ${EAGAIN} ? 0 : 1)`;

export const OPENING: readonly Provocation[] = [
  {
    rules: ['open-without-kvm'],
    how: 'a device is opened without a VM, which its driver refuses',
    async play(scene) {
      const device = await scene.create();
      const vmm = await scene.openGroup('dpdk-refused', device);
      await scene.faulty({ needs_kvm: 1 }, () =>
        scene.stage.refused(vmm, `device open d g ${device}`, 'ESRCH'),
      );
      await scene.expect(
        'open-without-kvm',
        { device },
        { severity: 'error', evidence: ['vfio.device.get_fd:end'], process: 'dpdk-refused' },
      );
      await vmm.order('quit');
      await scene.remove(device);
    },
  },
  {
    rules: ['kvm-ref-leak', 'device-kvm-refs-unbalanced'],
    how: 'a driver takes a reference on the VM when it is opened, and does not put it when it is closed',
    async play(scene) {
      const device = await scene.create();
      const vmm = scene.vmm('qemu-zombie');
      const vm = await vmm.order('pid');
      await scene.faulty({ leak_kvm: 1 }, () => vmm.order(`start a ${device}`));
      await vmm.order('stop a');
      await scene.expect(
        'device-kvm-refs-unbalanced',
        { device },
        {
          severity: 'error',
          evidence: ['vfio.device.open:begin', 'kvm.get:begin', 'vfio.device.close:end'],
          process: 'qemu-zombie',
        },
      );
      await vmm.order('quit');
      await scene.expect(
        'kvm-ref-leak',
        { vm },
        {
          severity: 'error',
          evidence: ['kvm.vm.init:end', 'kvm.get:begin', 'kvm.vm.fd_close:begin'],
          process: 'qemu-zombie',
        },
      );
      await scene.putRight();
      await scene.expectEnd('kvm-ref-leak', { vm });
      await scene.remove(device);
    },
  },
  {
    rules: ['kvm-ref-underflow', 'device-kvm-refs-unbalanced'],
    how: 'a driver puts a reference on a VM that has none left',
    complaint: { words: /refcount_t: underflow|lib\/refcount\.c/ },
    async play(scene) {
      const device = await scene.create();
      const vmm = scene.vmm('qemu-undone');
      const vm = await vmm.order('pid');
      await scene.faulty({ extra_put: 1 }, () => vmm.order(`start a ${device}`));
      await scene.expect(
        'kvm-ref-underflow',
        { vm },
        {
          severity: 'critical',
          evidence: ['kvm.vm.init:end', 'kvm.put:begin'],
          process: 'qemu-undone',
        },
      );
      await vmm.order('stop a');
      await scene.expect(
        'device-kvm-refs-unbalanced',
        { device },
        {
          severity: 'error',
          evidence: ['vfio.device.open:begin', 'kvm.put:begin', 'vfio.device.close:end'],
          process: 'qemu-undone',
        },
      );
      await vmm.order('quit');
      await scene.remove(device);
    },
  },
  {
    rules: ['kvm-used-twice'],
    how: 'a VM opens a second device of a driver that allows it one',
    async play(scene) {
      const [first, second] = [await scene.create(), await scene.create()];
      const vmm = await scene.openFor('qemu-greedy', first);
      await inOrder(vmm, [
        `group open g ${second}`,
        'group attach g a.container',
        'kvmvfio add a.kvmvfio g',
      ]);
      await scene.faulty({ one_kvm: 1 }, () =>
        scene.stage.refused(vmm, `device open d g ${second}`, 'EEXIST'),
      );
      await scene.expect(
        'kvm-used-twice',
        { device: second },
        { severity: 'warning', evidence: ['vfio.device.get_fd:end'], process: 'qemu-greedy' },
      );
      await vmm.order('quit');
      await scene.remove(first);
      await scene.remove(second);
    },
  },
  {
    rules: ['foreign-opener'],
    how: 'a process opens a device through a group that it was passed, for a VM that is not its own',
    async play(scene) {
      const device = await scene.create();
      const [owner, helper] = [
        await scene.openGroup('qemu-owner', device),
        scene.vmm('qemu-helper'),
      ];
      await inOrder(owner, ['vm create v', 'kvmvfio create v k', 'kvmvfio add k g']);
      await helper.order('inbox open foreign');
      await owner.order('send g foreign');
      await inOrder(helper, ['receive foreign g', `device open d g ${device}`]);
      await scene.expect(
        'foreign-opener',
        { device },
        { severity: 'warning', evidence: ['vfio.device.open:end'], process: 'qemu-helper' },
      );
      await inOrder(helper, ['close d', 'quit']);
      await owner.order('quit');
      await scene.remove(device);
    },
  },
  {
    rules: ['notifier-error-ignored'],
    how: 'a driver refuses a VM that its group is told, and nobody listens',
    async play(scene) {
      const device = await scene.create();
      const vmm = scene.vmm('qemu-unheard');
      await scene.faulty({ notify_bad: 1 }, () => vmm.order(`start a ${device}`));
      await scene.expect(
        'notifier-error-ignored',
        { device },
        { severity: 'error', evidence: ['vfio.group.notify:end'], process: 'qemu-unheard' },
      );
      await vmm.order('stop a');
      await vmm.order('quit');
      await scene.remove(device);
    },
  },
  {
    rules: ['request-ignored'],
    how: 'a driver asks a VMM for a device, and the VMM does not listen',
    async play(scene) {
      const device = await scene.faulty({ request: 1 }, () => scene.create());
      const vmm = await scene.openFor('qemu-deaf', device);
      const removal = scene.remove(device);
      await scene.expect(
        'request-ignored',
        { device },
        {
          severity: 'warning',
          evidence: ['vfio.device.open:end', 'vfio.unregister:begin'],
          process: 'qemu-deaf',
          holders: ['qemu-deaf'],
          blocked: 'admin',
        },
      );
      await scene.expect(
        'remove-stall',
        { device },
        {
          severity: 'warning',
          evidence: ['vfio.device.open:end', 'mdev.remove:begin', 'vfio.unregister:begin'],
          process: 'admin',
          holders: ['qemu-deaf'],
          blocked: 'admin',
        },
      );
      await vmm.order('close a.device');
      await vmm.order('quit');
      await removal;
      await scene.expectEnd('request-ignored', { device });
    },
  },
  {
    rules: ['vfio-module-pinned'],
    how: 'a module is to be unloaded while a device of it is open',
    async play(scene) {
      const device = await scene.create();
      const vmm = await scene.openFor('qemu-pin', device);
      await scene.sh(`perl -e '${UNLOAD_REFUSED}'`);
      await scene.expect(
        'vfio-module-pinned',
        { device },
        { severity: 'info', evidence: ['vfio.device.open:end'], process: 'perl' },
      );
      await vmm.order('stop a');
      await vmm.order('quit');
      await scene.remove(device);
    },
  },
];
