// SPDX-License-Identifier: Apache-2.0
/** What a driver does wrong with its vfio_device. */
import type { Provocation } from './provocation.ts';
import { inOrder } from './scene.ts';

/** It is vfio_mdev of the kernel that makes them on 5.10. */
const OWN_DEVICES = {
  from: [6, 1],
  because: 'a driver has no vfio_device there; vfio_mdev makes it',
} as const;

export const VFIO: readonly Provocation[] = [
  {
    rules: ['vfio-double-init'],
    how: 'a driver initialises a vfio_device twice',
    kernels: { from: [6, 1], before: [6, 2], because: 'only the core initialises a vfio_device' },
    complaint: { words: /tried to init an initialized object/ },
    async play(scene) {
      const device = await scene.faulty({ double_init: 1 }, () => scene.create());
      await scene.expect(
        'vfio-double-init',
        { device },
        { severity: 'critical', evidence: ['vfio.init:end', 'vfio.init:begin'], process: 'admin' },
      );
      await scene.remove(device);
    },
  },
  {
    rules: ['vfio-double-init'],
    how: 'a driver makes two vfio_devices for one device',
    kernels: { from: [6, 2], because: OWN_DEVICES.because },
    async play(scene) {
      const device = await scene.faulty({ double_init: 1 }, () => scene.create());
      await scene.expect(
        'vfio-double-init',
        { device },
        { severity: 'error', evidence: ['vfio.init:end', 'vfio.init:begin'], process: 'admin' },
      );
      await scene.remove(device);
    },
  },
  {
    rules: ['vfio-put-unbalanced'],
    how: 'a driver puts its vfio_device while its remove waits for a VMM',
    kernels: {
      from: [6, 6],
      because: 'the last reference would go in the midst of device_del(), which crashes the kernel',
    },
    async play(scene) {
      const [device, other] = await scene.faulty({ early_put: 1 }, async () => [
        await scene.create(),
        await scene.create(),
      ]);
      const vmm = await scene.openFor('qemu-hasty', device);
      const removal = scene.remove(device);
      // Less than a stall.
      await scene.rest(0.5);
      await inOrder(vmm, ['close a.device', 'quit']);
      await removal;
      await scene.expect(
        'vfio-put-unbalanced',
        { device },
        {
          severity: 'critical',
          evidence: ['vfio.device.open:end', 'vfio.unregister:begin', 'vfio.release:begin'],
        },
      );
      await scene.remove(other);
    },
  },
  {
    rules: ['vfio-double-register'],
    how: 'a driver registers a vfio_device twice',
    kernels: OWN_DEVICES,
    complaint: {
      words: /cannot create duplicate filename '.*\/iommu_group'|Failed to add to iommu group/,
    },
    async play(scene) {
      const device = await scene.faulty({ double_register: 1 }, () => scene.create());
      await scene.expect(
        'vfio-double-register',
        { device },
        {
          severity: 'error',
          evidence: ['vfio.register_emulated:end', 'vfio.register_emulated:begin'],
          process: 'admin',
        },
      );
      await scene.remove(device);
    },
  },
  {
    rules: ['vfio-never-registered'],
    how: 'a driver makes a vfio_device and does not register it',
    kernels: OWN_DEVICES,
    async play(scene) {
      const device = await scene.faulty({ no_register: 1 }, () => scene.create());
      await scene.expect(
        'vfio-never-registered',
        { device },
        { severity: 'warning', evidence: ['vfio.init:begin', 'vfio.init:end'] },
      );
      await scene.remove(device);
      await scene.expectEnd('vfio-never-registered', { device });
    },
  },
  {
    rules: ['vfio-release-missing'],
    how: 'a driver keeps a reference on a vfio_device that it has unregistered',
    kernels: OWN_DEVICES,
    async play(scene) {
      const device = await scene.faulty({ leak_vdev: 1 }, () => scene.create());
      await scene.remove(device);
      await scene.expect(
        'vfio-release-missing',
        { device },
        { severity: 'error', evidence: ['vfio.unregister:begin', 'vfio.unregister:end'] },
      );
      await scene.putRight();
      await scene.expectEnd('vfio-release-missing', { device });
    },
  },
  {
    rules: ['release-wait-stall'],
    how: 'a driver waits in its remove for a release that does not come',
    kernels: OWN_DEVICES,
    async play(scene) {
      const device = await scene.faulty({ leak_vdev: 1 }, () => scene.create());
      const removal = scene.faulty({ wait_release: 1 }, () => scene.remove(device));
      await scene.expect(
        'release-wait-stall',
        { device },
        {
          severity: 'error',
          evidence: ['mdev.unbind:begin', 'vfio.unregister:begin', 'vfio.unregister:end'],
          process: 'admin',
          blocked: 'admin',
        },
      );
      await scene.putRight();
      await removal;
      await scene.expectEnd('release-wait-stall', { device });
    },
  },
];
