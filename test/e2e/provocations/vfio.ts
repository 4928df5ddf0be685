// SPDX-License-Identifier: Apache-2.0
/** Violations by a driver's use of its vfio_device. */
import type { Provocation } from './provocation.ts';
import { runCommands } from './session.ts';

/** On 5.10 vfio_mdev of the kernel creates the vfio_devices. */
const OWN_DEVICES = {
  where: { vfioDeviceIsCounted: true },
  because: 'a driver has no vfio_device there; vfio_mdev makes it',
} as const;

export const VFIO: readonly Provocation[] = [
  {
    rules: ['vfio-double-init'],
    how: 'a driver initialises a vfio_device twice',
    kernels: {
      where: { vfioDeviceIsCounted: true, opensAreOneFunction: false },
      because: 'only the core initialises a vfio_device',
    },
    complaint: { pattern: /tried to init an initialized object/ },
    async run(session) {
      const device = await session.faulty({ double_init: 1 }, () => session.create());
      await session.expect(
        'vfio-double-init',
        { device },
        { severity: 'critical', evidence: ['vfio.init:end', 'vfio.init:begin'], process: 'admin' },
      );
      await session.remove(device);
    },
  },
  {
    rules: ['vfio-double-init'],
    how: 'a driver creates two vfio_devices for one device',
    kernels: {
      where: { vfioDeviceIsCounted: true, opensAreOneFunction: true },
      because: OWN_DEVICES.because,
    },
    async run(session) {
      const device = await session.faulty({ double_init: 1 }, () => session.create());
      await session.expect(
        'vfio-double-init',
        { device },
        { severity: 'error', evidence: ['vfio.init:end', 'vfio.init:begin'], process: 'admin' },
      );
      await session.remove(device);
    },
  },
  {
    rules: ['vfio-put-unbalanced'],
    how: 'a driver puts its vfio_device while its remove waits for a VMM',
    kernels: {
      where: { opensDuringRemoval: false },
      because: 'the last reference would be put within device_del(), which crashes the kernel',
    },
    async run(session) {
      const [device, other] = await session.faulty({ early_put: 1 }, async () => [
        await session.create(),
        await session.create(),
      ]);
      const vmm = await session.openFor('qemu-hasty', device);
      const removal = session.remove(device);
      await session.untilWaiting(device);
      await runCommands(vmm, ['close a.device', 'quit']);
      await removal;
      await session.expect(
        'vfio-put-unbalanced',
        { device },
        {
          severity: 'critical',
          evidence: ['vfio.device.open:end', 'vfio.unregister:begin', 'vfio.release:begin'],
        },
      );
      await session.remove(other);
    },
  },
  {
    rules: ['vfio-double-register'],
    how: 'a driver registers a vfio_device twice',
    kernels: OWN_DEVICES,
    complaint: {
      pattern: /cannot create duplicate filename '.*\/iommu_group'|Failed to add to iommu group/,
    },
    async run(session) {
      const device = await session.faulty({ double_register: 1 }, () => session.create());
      await session.expect(
        'vfio-double-register',
        { device },
        {
          severity: 'error',
          evidence: ['vfio.register_emulated:end', 'vfio.register_emulated:begin'],
          process: 'admin',
        },
      );
      await session.remove(device);
    },
  },
  {
    rules: ['vfio-never-registered'],
    how: 'a driver creates a vfio_device and does not register it',
    kernels: OWN_DEVICES,
    async run(session) {
      const device = await session.faulty({ no_register: 1 }, () => session.create());
      await session.expect(
        'vfio-never-registered',
        { device },
        { severity: 'warning', evidence: ['vfio.init:begin', 'vfio.init:end'] },
      );
      await session.remove(device);
      await session.expectEnd('vfio-never-registered', { device });
    },
  },
  {
    rules: ['vfio-release-missing'],
    how: 'a driver keeps a reference on a vfio_device that it has unregistered',
    kernels: OWN_DEVICES,
    async run(session) {
      const device = await session.faulty({ leak_vdev: 1 }, () => session.create());
      await session.remove(device);
      await session.expect(
        'vfio-release-missing',
        { device },
        { severity: 'error', evidence: ['vfio.unregister:begin', 'vfio.unregister:end'] },
      );
      await session.putLeaked();
      await session.expectEnd('vfio-release-missing', { device });
    },
  },
  {
    rules: ['release-wait-stall'],
    how: 'a driver waits in its remove for a release that does not happen',
    kernels: OWN_DEVICES,
    async run(session) {
      const device = await session.faulty({ leak_vdev: 1 }, () => session.create());
      const removal = session.faulty({ wait_release: 1 }, () => session.remove(device));
      await session.expect(
        'release-wait-stall',
        { device },
        {
          severity: 'error',
          evidence: ['mdev.unbind:begin', 'vfio.unregister:begin', 'vfio.unregister:end'],
          process: 'admin',
          blocked: 'admin',
        },
      );
      await session.putLeaked();
      await removal;
      await session.expectEnd('release-wait-stall', { device });
    },
  },
];
