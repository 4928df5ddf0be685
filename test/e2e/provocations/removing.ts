// SPDX-License-Identifier: Apache-2.0
/** What goes wrong when an mdev is taken away, or its parent with it. */
import assert from 'node:assert/strict';
import type { Provocation } from './provocation.ts';
import { FIRST, SECOND } from './scene.ts';

const DRIVER_OF_ITS_OWN = {
  from: [6, 1],
  because: 'vfio_mdev of the kernel unregisters all devices there, in the right order',
} as const;

export const REMOVING: readonly Provocation[] = [
  {
    rules: ['remove-order-violated'],
    how: 'a driver leaves it to devres to unregister its vfio_device, which is after the bus let go of it',
    kernels: DRIVER_OF_ITS_OWN,
    async play(scene) {
      const device = await scene.faulty({ late_unregister: 1 }, () => scene.create());
      await scene.remove(device);
      await scene.expect(
        'remove-order-violated',
        { device },
        {
          severity: 'critical',
          evidence: ['mdev.remove:begin', 'mdev.unbind:begin', 'mdev.unbind:end'],
          process: 'admin',
        },
      );
    },
  },
  {
    rules: ['removed-while-open'],
    how: 'the same, while a VMM has the device open',
    kernels: DRIVER_OF_ITS_OWN,
    async play(scene) {
      const device = await scene.faulty({ late_unregister: 1 }, () => scene.create());
      const vmm = await scene.openFor('qemu-torn', device);
      const removal = scene.remove(device);
      await scene.expect(
        'removed-while-open',
        { device },
        {
          severity: 'critical',
          evidence: ['vfio.device.open:end', 'mdev.unbind:begin', 'mdev.unbind:end'],
          process: 'admin',
          holders: ['qemu-torn'],
        },
      );
      await vmm.order('close a.device');
      await vmm.order('quit');
      await removal;
    },
  },
  {
    rules: ['mdev-release-delayed'],
    how: 'a driver keeps a reference on an mdev that was removed',
    async play(scene) {
      const device = await scene.faulty({ leak_dev: 1 }, () => scene.create());
      await scene.remove(device);
      await scene.expect(
        'mdev-release-delayed',
        { device },
        { severity: 'error', evidence: ['mdev.remove:begin', 'mdev.remove:end'] },
      );
      await scene.putRight();
      await scene.expectEnd('mdev-release-delayed', { device });
    },
  },
  {
    rules: ['child-outlives-parent'],
    how: 'a driver keeps a reference on an mdev whose parent goes',
    async play(scene) {
      const device = await scene.faulty({ leak_dev: 1 }, () => scene.create(SECOND));
      await scene.withdraw(SECOND);
      await scene.expect(
        'child-outlives-parent',
        { device },
        {
          severity: scene.since(6, 1) ? 'critical' : 'error',
          evidence: ['mdev.remove_child:begin', 'mdev.remove_child:end'],
          process: 'admin',
        },
      );
      await scene.putRight();
      await scene.expectEnd('child-outlives-parent', { device });
      await scene.offer(SECOND);
    },
  },
  {
    rules: [
      'parent-unregister-stall',
      'create-races-parent-unregister',
      'remove-races-parent-unregister',
    ],
    how: 'a parent is withdrawn while a VMM has a device of it open; others create and remove meanwhile',
    async play(scene) {
      const [busy, idle] = [await scene.create(FIRST), await scene.create(FIRST)];
      const vmm = await scene.openFor('qemu-kept', busy);
      // The core goes from one child to the next, and waits at the first.
      const withdrawal = scene.withdraw(FIRST);
      await scene.expect(
        'parent-unregister-stall',
        { parent: FIRST },
        {
          severity: 'warning',
          evidence: ['mdev.parent.unregister:begin'],
          process: 'admin',
          holders: ['qemu-kept'],
        },
      );
      await scene.expect(
        'remove-stall',
        { device: busy },
        {
          severity: 'warning',
          evidence: ['mdev.remove_child:begin', 'vfio.unregister:begin'],
          process: 'admin',
          holders: ['qemu-kept'],
        },
      );
      const late = await scene.createRefused(FIRST);
      await scene.expect(
        'create-races-parent-unregister',
        { device: late },
        {
          severity: 'info',
          evidence: ['mdev.parent.unregister:begin', 'mdev.create:begin', 'mdev.create:end'],
          process: 'admin',
        },
      );
      await scene.stage.try(`echo 1 > /sys/bus/mdev/devices/${idle}/remove`);
      await scene.expect(
        'remove-races-parent-unregister',
        { device: idle },
        {
          severity: 'info',
          evidence: ['mdev.parent.unregister:begin', 'mdev.remove:begin', 'mdev.remove:end'],
        },
      );
      await vmm.order('close a.device');
      await vmm.order('quit');
      await withdrawal;
      await scene.expectEnd('parent-unregister-stall', { parent: FIRST });
      await scene.offer(FIRST);
    },
  },
  {
    rules: ['parent-unregister-stall'],
    how: 'a driver takes seconds to let go of a device whose parent is withdrawn',
    async play(scene) {
      const device = await scene.create(SECOND);
      await scene.faulty({ remove_ms: 5000 }, async () => {
        const withdrawal = scene.withdraw(SECOND);
        await scene.expect(
          'parent-unregister-stall',
          { parent: SECOND },
          { severity: 'warning', evidence: ['mdev.parent.unregister:begin'], process: 'admin' },
        );
        await withdrawal;
      });
      await scene.expectEnd('parent-unregister-stall', { parent: SECOND });
      assert.ok(!(await scene.sh('ls /sys/bus/mdev/devices')).includes(device), 'it is removed');
      await scene.offer(SECOND);
    },
  },
  {
    rules: ['parent-unregister-stall', 'remove-stall'],
    how: 'a module without an owner for its driver is unloaded while a device of it is open',
    async play(scene) {
      await scene.unload();
      await scene.load('no_owner=1');
      const device = await scene.create();
      const vmm = await scene.openFor('qemu-loose', device);
      const unloading = scene.unload();
      await scene.expect(
        'parent-unregister-stall',
        { parent: FIRST },
        {
          severity: 'warning',
          evidence: ['mdev.parent.unregister:begin'],
          process: 'rmmod',
          holders: ['qemu-loose'],
        },
      );
      await scene.expect(
        'remove-stall',
        { device },
        {
          severity: 'warning',
          evidence: ['vfio.device.open:end', 'vfio.unregister:begin'],
          process: 'rmmod',
          holders: ['qemu-loose'],
        },
      );
      await vmm.order('close a.device');
      await vmm.order('quit');
      await unloading;
      await scene.expectEnd('remove-stall', { device });
      await scene.load();
    },
  },
  {
    rules: ['driver-gone-before-parent'],
    how: 'a module takes its mdev driver away before the parents that it serves',
    async play(scene) {
      await scene.unload();
      await scene.load('driver_first=1');
      await scene.unload();
      for (const parent of [FIRST, SECOND]) {
        await scene.expect(
          'driver-gone-before-parent',
          { parent },
          { severity: 'critical', evidence: ['mdev.parent.register:end'], process: 'rmmod' },
        );
      }
      await scene.load();
    },
  },
];
