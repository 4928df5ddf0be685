// SPDX-License-Identifier: Apache-2.0
/** Violations when an mdev is removed or its parent is unregistered. */
import assert from 'node:assert/strict';
import { fittingName } from '../../../src/events/long-name.ts';
import type { Provocation } from './provocation.ts';
import { FIRST, LONG_NAMED, runCommands, SECOND } from './session.ts';

interface ApiParent {
  readonly name: string;
  readonly state: string;
  readonly devices: number;
}

export const OWN_MDEV_DRIVER = {
  where: { mdevsHaveDriver: true },
  because: 'vfio_mdev of the kernel unregisters all devices there, in the right order',
} as const;

export const REMOVING: readonly Provocation[] = [
  {
    rules: ['remove-order-violated'],
    how: 'a driver leaves it to devres to unregister its vfio_device, which happens after the device is unbound',
    kernels: OWN_MDEV_DRIVER,
    async run(session) {
      const device = await session.faulty({ late_unregister: 1 }, () => session.create());
      await session.remove(device);
      await session.expect(
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
    how: 'a driver leaves it to devres to unregister its vfio_device, while a VMM has the device open',
    kernels: OWN_MDEV_DRIVER,
    async run(session) {
      const device = await session.faulty({ late_unregister: 1 }, () => session.create());
      const vmm = await session.openFor('qemu-torn', device);
      const removal = session.remove(device);
      await session.expect(
        'removed-while-open',
        { device },
        {
          severity: 'critical',
          evidence: ['vfio.device.open:end', 'mdev.unbind:begin', 'mdev.unbind:end'],
          process: 'admin',
          holders: ['qemu-torn'],
        },
      );
      await vmm.command('close a.device');
      await vmm.command('quit');
      await removal;
    },
  },
  {
    rules: ['mdev-release-delayed'],
    how: 'a driver keeps a reference on an mdev that was removed',
    async run(session) {
      const device = await session.faulty({ leak_dev: 1 }, () => session.create());
      await session.remove(device);
      await session.expect(
        'mdev-release-delayed',
        { device },
        { severity: 'error', evidence: ['mdev.remove:begin', 'mdev.remove:end'] },
      );
      await session.putLeaked();
      await session.expectEnd('mdev-release-delayed', { device });
    },
  },
  {
    rules: ['child-outlives-parent'],
    how: 'a driver keeps a reference on an mdev whose parent is unregistered',
    async run(session) {
      const device = await session.faulty({ leak_dev: 1 }, () => session.create(SECOND));
      await session.unregister(SECOND);
      await session.expect(
        'child-outlives-parent',
        { device },
        {
          severity: session.traits.parentBelongsToDriver ? 'critical' : 'error',
          evidence: ['mdev.remove_child:begin', 'mdev.remove_child:end'],
          process: 'admin',
        },
      );
      await session.putLeaked();
      await session.expectEnd('child-outlives-parent', { device });
      await session.register(SECOND);
    },
  },
  {
    rules: [
      'parent-unregister-stall',
      'create-races-parent-unregister',
      'remove-races-parent-unregister',
    ],
    how: 'a parent is unregistered while a VMM has a device of it open; others create and remove meanwhile',
    async run(session) {
      const [busy, idle] = [await session.create(FIRST), await session.create(FIRST)];
      const vmm = await session.openFor('qemu-kept', busy);
      // The core removes one child after the other, and waits at the first.
      const unregistration = session.unregister(FIRST);
      await session.expect(
        'parent-unregister-stall',
        { parent: FIRST },
        {
          severity: 'warning',
          evidence: ['mdev.parent.unregister:begin'],
          process: 'admin',
          holders: ['qemu-kept'],
        },
      );
      await session.expect(
        'remove-stall',
        { device: busy },
        {
          severity: 'warning',
          evidence: ['mdev.remove_child:begin', 'vfio.unregister:begin'],
          process: 'admin',
          holders: ['qemu-kept'],
        },
      );
      const late = await session.createRefused(FIRST);
      await session.expect(
        'create-races-parent-unregister',
        { device: late },
        {
          severity: 'info',
          evidence: ['mdev.parent.unregister:begin', 'mdev.create:begin', 'mdev.create:end'],
          process: 'admin',
        },
      );
      await session.lab.try(`echo 1 > /sys/bus/mdev/devices/${idle}/remove`);
      await session.expect(
        'remove-races-parent-unregister',
        { device: idle },
        {
          severity: 'info',
          evidence: ['mdev.parent.unregister:begin', 'mdev.remove:begin', 'mdev.remove:end'],
        },
      );
      await vmm.command('close a.device');
      await vmm.command('quit');
      await unregistration;
      await session.expectEnd('parent-unregister-stall', { parent: FIRST });
      await session.register(FIRST);
    },
  },
  {
    rules: ['parent-unregister-stall'],
    how: 'a driver takes seconds to remove a device whose parent is unregistered',
    async run(session) {
      const device = await session.create(SECOND);
      let unregistration: Promise<unknown> = Promise.resolve();
      await session.faulty({ hold_remove: 1 }, async () => {
        unregistration = session.unregister(SECOND);
        await session.expect(
          'parent-unregister-stall',
          { parent: SECOND },
          { severity: 'warning', evidence: ['mdev.parent.unregister:begin'], process: 'admin' },
        );
        // On 5.10 the driver is called after it was unbound.
        if (session.traits.mdevsHaveDriver) {
          await session.expect(
            'remove-stall',
            { device },
            { severity: 'warning', evidence: ['mdev.unbind:begin'], process: 'admin' },
          );
        }
      });
      await unregistration;
      await session.expectEnd('parent-unregister-stall', { parent: SECOND });
      assert.ok(!(await session.sh('ls /sys/bus/mdev/devices')).includes(device), 'it is removed');
      await session.register(SECOND);
    },
  },
  {
    rules: ['parent-unregister-stall'],
    how: 'one of two parents is unregistered whose long names differ in their last byte, and its driver does not return',
    async run(session) {
      await session.unload();
      await session.load('long_names=1');
      const [other, parent] = LONG_NAMED;
      const devices = [await session.create(other), await session.create(parent)];
      let unregistration: Promise<unknown> = Promise.resolve();
      const about = { parent: fittingName(parent) };
      await session.faulty({ hold_remove: 1 }, async () => {
        unregistration = session.unregister(parent);
        await session.expect('parent-unregister-stall', about, {
          severity: 'warning',
          evidence: ['mdev.parent.unregister:begin'],
          process: 'admin',
        });
        // On 5.10 the driver is called after it was unbound.
        if (session.traits.mdevsHaveDriver) {
          await session.expect(
            'remove-stall',
            { device: devices[1] },
            { severity: 'warning', evidence: ['mdev.unbind:begin'], process: 'admin' },
          );
        }
        const { parents } = await session.lab.api<{ parents: ApiParent[] }>('/api/v1/parents');
        assert.deepEqual(
          LONG_NAMED.map(fittingName).map((name) => {
            const { state, devices } = parents.find((one) => one.name === name) ?? {};
            return { state, devices };
          }),
          [
            { state: 'registered', devices: 1 },
            { state: 'unregistering', devices: 1 },
          ],
        );
      });
      await unregistration;
      await session.expectEnd('parent-unregister-stall', about);
      await session.remove(devices[0]);
      await session.unload();
      await session.load();
    },
  },
  {
    rules: ['parent-unregister-stall', 'remove-stall'],
    how: 'a module without an owner for its driver is unloaded while a device of it is open',
    async run(session) {
      await session.unload();
      await session.load('no_owner=1');
      const device = await session.create();
      const vmm = await session.openFor('qemu-loose', device);
      const unloading = session.unload();
      await session.expect(
        'parent-unregister-stall',
        { parent: FIRST },
        {
          severity: 'warning',
          evidence: ['mdev.parent.unregister:begin'],
          process: 'rmmod',
          holders: ['qemu-loose'],
        },
      );
      await session.expect(
        'remove-stall',
        { device },
        {
          severity: 'warning',
          evidence: ['vfio.device.open:end', 'vfio.unregister:begin'],
          process: 'rmmod',
          holders: ['qemu-loose'],
        },
      );
      await vmm.command('close a.device');
      await vmm.command('quit');
      await unloading;
      await session.expectEnd('remove-stall', { device });
      await session.load();
    },
  },
  {
    rules: ['remove-stall'],
    how: 'a driver keeps a reference on the registration of a device that was closed',
    kernels: OWN_MDEV_DRIVER,
    async run(session) {
      const device = await session.create();
      const vmm = await session.faulty({ leak_use: 1 }, () =>
        session.openFor('qemu-blameless', device),
      );
      await vmm.command('stop a');
      await vmm.command('quit');
      const removal = session.remove(device);
      await session.expect(
        'remove-stall',
        { device },
        {
          severity: 'warning',
          evidence: ['vfio.device.close:end', 'vfio.unregister:begin'],
          blocked: 'admin',
          message: /never put, which is a fault of its driver faulty; only a reboot ends that/,
        },
      );
      await session.putLeaked();
      await removal;
      await session.expectEnd('remove-stall', { device });
    },
  },
  {
    rules: ['remove-stall'],
    how: 'a device is removed while the driver does not return from a close of it',
    async run(session) {
      const device = await session.create();
      const vmm = await session.openFor('qemu-closing', device);
      let [close, removal]: Promise<unknown>[] = [];
      await session.faulty({ hold_close: 1 }, async () => {
        // On 5.10 the removal also waits until the group is in no container.
        close = runCommands(vmm, ['close a.device', 'quit']);
        await session.lab.until('the close has begun', async () => {
          const path = `/api/v1/devices/${device}`;
          const found = await session.lab.api<{ device: { openedBy: { state: string }[] } }>(path);
          return found.device.openedBy.some(({ state }) => state === 'closing');
        });
        removal = session.remove(device);
        await session.expect(
          'remove-stall',
          { device },
          {
            severity: 'warning',
            evidence: ['vfio.device.close:begin', 'vfio.unregister:begin'],
            blocked: 'admin',
            holders: ['qemu-closing'],
            message:
              /is still being closed by qemu-closing \(pid \d+\), whose call that closes it began/,
          },
        );
      });
      await Promise.all([close, removal]);
      await session.expectEnd('remove-stall', { device });
    },
  },
  {
    rules: ['remove-stall'],
    how: 'a driver does not return from its remove callback, and others wait for the lock of the device',
    kernels: OWN_MDEV_DRIVER,
    async run(session) {
      const device = await session.create();
      const driver = await session.driverOf(device);
      let calls: Promise<unknown>[] = [];
      await session.faulty({ hold_remove: 1 }, async () => {
        const unbinding = session.by('admin', `echo ${device} > ${driver}/unbind`);
        await session.lab.until(
          'the driver is called',
          async () =>
            (await session.sh(`ls /sys/bus/mdev/devices/${device}`)).match(/driver/) === null,
        );
        // Of the second unbind no probe is reached, of the removal one is.
        const again = session.by('operator', `echo ${device} > ${driver}/unbind || true`);
        const removal = session.by('remover', `echo 1 > /sys/bus/mdev/devices/${device}/remove`);
        calls = [unbinding, again, removal];
        await session.expect(
          'remove-stall',
          { device },
          {
            severity: 'warning',
            evidence: ['mdev.unbind:begin'],
            process: 'admin',
            blocked: 'admin',
            waiters: { operator: 'probably waits', remover: 'waits' },
            message:
              /1 other task waits behind it: remover \(pid \d+, in device_del, its call began .* ago\)\. 1 other task probably waits behind it, inferred .*: operator \(pid \d+, in \w+\)\.$/,
          },
        );
      });
      await Promise.all(calls);
      await session.expectEnd('remove-stall', { device });
    },
  },
  {
    rules: ['driver-gone-before-parent'],
    how: 'a module unregisters its mdev driver before the parents that it serves',
    async run(session) {
      await session.unload();
      await session.load('driver_first=1');
      await session.unload();
      for (const parent of [FIRST, SECOND]) {
        await session.expect(
          'driver-gone-before-parent',
          { parent },
          { severity: 'critical', evidence: ['mdev.parent.register:end'], process: 'rmmod' },
        );
      }
      await session.load();
    },
  },
];
