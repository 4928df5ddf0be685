// SPDX-License-Identifier: Apache-2.0
/** Violations when a device is opened for a VM, or without one. */
import type { Provocation } from './provocation.ts';
import { runCommands } from './session.ts';

/** The number of the system call: rmmod reads the reference count first, and does not call it for a used module. */
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
    async run(session) {
      const device = await session.create();
      const vmm = await session.openGroup('dpdk-refused', device);
      await session.faulty({ needs_kvm: 1 }, () =>
        session.lab.refused(vmm, `device open d g ${device}`, 'ESRCH'),
      );
      await session.expect(
        'open-without-kvm',
        { device },
        { severity: 'error', evidence: ['vfio.device.get_fd:end'], process: 'dpdk-refused' },
      );
      await vmm.command('quit');
      await session.remove(device);
    },
  },
  {
    rules: ['kvm-ref-leak', 'device-kvm-refs-unbalanced'],
    how: 'a driver takes a reference on the VM when a device is opened, and does not put it when the device is closed',
    async run(session) {
      const device = await session.create();
      const vmm = session.vmm('qemu-zombie');
      const vm = await vmm.command('pid');
      await session.faulty({ leak_kvm: 1 }, () => vmm.command(`start a ${device}`));
      await vmm.command('stop a');
      await session.expect(
        'device-kvm-refs-unbalanced',
        { device },
        {
          severity: 'error',
          evidence: ['vfio.device.open:begin', 'kvm.get:begin', 'vfio.device.close:end'],
          process: 'qemu-zombie',
        },
      );
      await vmm.command('quit');
      await session.expect(
        'kvm-ref-leak',
        { vm },
        {
          severity: 'error',
          evidence: ['kvm.vm.init:end', 'kvm.get:begin', 'kvm.vm.fd_close:begin'],
          process: 'qemu-zombie',
        },
      );
      await session.putLeaked();
      await session.expectEnd('kvm-ref-leak', { vm });
      await session.remove(device);
    },
  },
  {
    rules: ['kvm-ref-underflow', 'device-kvm-refs-unbalanced'],
    how: 'a driver puts a reference on a VM that has none left',
    complaint: { pattern: /refcount_t: underflow|lib\/refcount\.c/ },
    async run(session) {
      const device = await session.create();
      const vmm = session.vmm('qemu-undone');
      const vm = await vmm.command('pid');
      await session.faulty({ extra_put: 1 }, () => vmm.command(`start a ${device}`));
      await session.expect(
        'kvm-ref-underflow',
        { vm },
        {
          severity: 'critical',
          evidence: ['kvm.vm.init:end', 'kvm.put:begin'],
          process: 'qemu-undone',
        },
      );
      await vmm.command('stop a');
      await session.expect(
        'device-kvm-refs-unbalanced',
        { device },
        {
          severity: 'error',
          evidence: ['vfio.device.open:begin', 'kvm.put:begin', 'vfio.device.close:end'],
          process: 'qemu-undone',
        },
      );
      await vmm.command('quit');
      await session.remove(device);
    },
  },
  {
    rules: ['kvm-used-twice'],
    how: 'a VM opens a second device of a driver that allows one per VM',
    async run(session) {
      const [first, second] = [await session.create(), await session.create()];
      const vmm = await session.openFor('qemu-greedy', first);
      await runCommands(vmm, [
        `group open g ${second}`,
        'group attach g a.container',
        'kvmvfio add a.kvmvfio g',
      ]);
      await session.faulty({ one_kvm: 1 }, () =>
        session.lab.refused(vmm, `device open d g ${second}`, 'EEXIST'),
      );
      await session.expect(
        'kvm-used-twice',
        { device: second },
        { severity: 'warning', evidence: ['vfio.device.get_fd:end'], process: 'qemu-greedy' },
      );
      await vmm.command('quit');
      await session.remove(first);
      await session.remove(second);
    },
  },
  {
    rules: ['foreign-opener'],
    how: 'a process opens a device through a group descriptor that it received, for the VM of another process',
    async run(session) {
      const device = await session.create();
      const [owner, helper] = [
        await session.openGroup('qemu-owner', device),
        session.vmm('qemu-helper'),
      ];
      await runCommands(owner, ['vm create v', 'kvmvfio create v k', 'kvmvfio add k g']);
      await helper.command('inbox open foreign');
      await owner.command('send g foreign');
      await runCommands(helper, ['receive foreign g', `device open d g ${device}`]);
      await session.expect(
        'foreign-opener',
        { device },
        { severity: 'warning', evidence: ['vfio.device.open:end'], process: 'qemu-helper' },
      );
      await runCommands(helper, ['close d', 'quit']);
      await owner.command('quit');
      await session.remove(device);
    },
  },
  {
    rules: ['notifier-error-ignored'],
    how: 'a driver refuses the VM of its group by NOTIFY_BAD, which the kernel ignores',
    async run(session) {
      const device = await session.create();
      const vmm = session.vmm('qemu-unheard');
      await session.faulty({ notify_bad: 1 }, () => vmm.command(`start a ${device}`));
      await session.expect(
        'notifier-error-ignored',
        { device },
        { severity: 'error', evidence: ['vfio.group.notify:end'], process: 'qemu-unheard' },
      );
      await vmm.command('stop a');
      await vmm.command('quit');
      await session.remove(device);
    },
  },
  {
    rules: ['request-ignored'],
    how: 'a driver requests a device back, and the VMM does not react',
    async run(session) {
      const device = await session.faulty({ request: 1 }, () => session.create());
      const vmm = await session.openFor('qemu-deaf', device);
      const removal = session.remove(device);
      await session.expect(
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
      await session.expect(
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
      await vmm.command('close a.device');
      await vmm.command('quit');
      await removal;
      await session.expectEnd('request-ignored', { device });
    },
  },
  {
    rules: ['vfio-module-pinned'],
    how: 'somebody tries to unload a module while one of its devices is open',
    async run(session) {
      const device = await session.create();
      const vmm = await session.openFor('qemu-pin', device);
      await session.sh(`perl -e '${UNLOAD_REFUSED}'`);
      await session.expect(
        'vfio-module-pinned',
        { device },
        { severity: 'info', evidence: ['vfio.device.open:end'], process: 'perl' },
      );
      await vmm.command('stop a');
      await vmm.command('quit');
      await session.remove(device);
    },
  },
];
