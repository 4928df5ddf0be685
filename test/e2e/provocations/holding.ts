// SPDX-License-Identifier: Apache-2.0
/** Devices that are held by another process than their opener, or without a descriptor. */

import assert from 'node:assert/strict';
import { SECOND } from '../../../src/units.ts';
import type { Provocation } from './provocation.ts';
import { type ProvocationSession, runCommands } from './session.ts';

/** s */
const DAY = 86400;

/** Opens a device without a VM, which could not outlive its opener. */
async function openWithoutVm(session: ProvocationSession, comm: string, type: 'mtty' | 'mdpy') {
  const { uuid: device } = await session.lab.create(type);
  const vmm = await session.openGroup(comm, device);
  await vmm.command(`device open d g ${device}`);
  await session.expect(
    'open-without-kvm',
    { device },
    { severity: 'info', evidence: ['vfio.device.open:end'], process: comm },
  );
  return { device, vmm };
}

interface Dated {
  readonly ns: number;
  readonly at: string;
}

/** When the removal of a device was first seen to wait, and when that was over. */
async function datesOf(session: ProvocationSession, uuid: string) {
  interface Answer {
    violations: { device?: string; firstSeen: Dated; resolved?: Dated }[];
  }
  const { violations } = await session.lab.api<Answer>('/api/v1/violations?rule=remove-stall');
  const found = violations.find(({ device }) => device === uuid);
  assert.ok(found);
  return found;
}

/** Sets the wall clock of the VM, which takes some time and is exact to a second. */
async function setClockAhead(session: ProvocationSession, days: number): Promise<void> {
  await session.sh(`date -s @$(($(date +%s) + ${days} * ${DAY}))`);
}

export const HOLDING: readonly Provocation[] = [
  {
    rules: ['remove-stall'],
    how: 'a process has a device open and waits for the lock that the remover of the device holds',
    async run(session) {
      const { device, vmm } = await openWithoutVm(session, 'qemu-cyclic', 'mtty');
      const driver = await session.driverOf(device);
      const unbinding = session.by('admin', `echo ${device} > ${driver}/unbind`);
      await session.untilWaiting(device);
      await vmm.command(`thread start resetter write /sys/bus/mdev/devices/${device}/remove 1`);
      await session.expect(
        'remove-stall',
        { device },
        {
          severity: 'warning',
          evidence: ['vfio.device.open:end', 'mdev.unbind:begin', 'vfio.unregister:begin'],
          blocked: 'admin',
          holders: ['qemu-cyclic'],
          message:
            /qemu-cyclic \(pid \d+\) itself waits in device_del \(D \(disk sleep\)\) for the lock of a device, which admin \(pid \d+\) probably holds: they wait for each other, and killing either does not end that\. Only if another thread/,
        },
      );
      // The process has another thread, which ends what no signal does. Before 6.0 the removal also waits
      // until the group is in no container.
      await runCommands(vmm, ['close d', 'close g']);
      await unbinding;
      await runCommands(vmm, ['thread end', 'quit']);
      await session.expectEnd('remove-stall', { device });
    },
  },
  {
    rules: ['remove-stall'],
    how: 'a device is removed that a thread with a name of its own opened, in a process that has called exec since',
    async run(session) {
      const { uuid: device } = await session.lab.create('mtty');
      const vmm = await session.openGroup('qemu-starter', device);
      await runCommands(vmm, [`thread start worker device open d g ${device}`, 'thread end']);
      await session.expect(
        'open-without-kvm',
        { device },
        { severity: 'info', evidence: ['vfio.device.open:end'], process: 'qemu-starter' },
      );
      await vmm.command('exec qemu-renamed');
      const removal = session.remove(device);
      await session.expect(
        'remove-stall',
        { device },
        {
          severity: 'warning',
          evidence: ['vfio.device.open:end', 'vfio.unregister:begin'],
          blocked: 'admin',
          holders: ['qemu-renamed'],
          message: /is still held open by qemu-renamed \(pid \d+\)/,
        },
      );
      await vmm.command('quit');
      await removal;
      await session.expectEnd('remove-stall', { device });
    },
  },
  {
    rules: ['remove-stall'],
    how: 'a device is removed whose opener has ended, after it sent its files to another process',
    async run(session) {
      const { device, vmm: giver } = await openWithoutVm(session, 'qemu-giver', 'mtty');
      const heir = session.vmm('qemu-heir');
      await heir.command('inbox open heir');
      for (const file of ['d', 'g', 'c']) {
        await giver.command(`send ${file} heir`);
        await heir.command(`receive heir ${file}`);
      }
      await giver.command('quit');
      const removal = session.remove(device);
      await session.expect(
        'remove-stall',
        { device },
        {
          severity: 'warning',
          evidence: ['vfio.device.open:end', 'vfio.unregister:begin'],
          blocked: 'admin',
          holders: ['qemu-heir'],
          message: /qemu-giver \(pid \d+\), which opened it, is gone/,
        },
      );
      await runCommands(heir, ['close d', 'quit']);
      await removal;
      await session.expectEnd('remove-stall', { device });
    },
  },
  {
    rules: ['remove-stall'],
    how: 'a device is removed that a process has mapped, after it closed its descriptor',
    async run(session) {
      const { device, vmm } = await openWithoutVm(session, 'qemu-mapping', 'mdpy');
      await runCommands(vmm, ['device map d', 'close d']);
      const removal = session.remove(device);
      await session.expect(
        'remove-stall',
        { device },
        {
          severity: 'warning',
          evidence: ['vfio.device.open:end', 'vfio.unregister:begin'],
          blocked: 'admin',
          holders: ['qemu-mapping'],
          message: /qemu-mapping \(pid \d+\), which opened it, has closed its descriptor/,
        },
      );
      await vmm.command('quit');
      await removal;
      await session.expectEnd('remove-stall', { device });
    },
  },
  {
    rules: ['open-failed'],
    how: 'a process opens a group again that it has sent to another process, and closed',
    async run(session) {
      const { uuid: device } = await session.lab.create('mtty');
      const giver = session.vmm('spdk-giver');
      const heir = session.vmm('spdk-heir');
      await heir.command('inbox open group-heir');
      await runCommands(giver, [`group open g ${device}`, 'send g group-heir', 'close g']);
      await heir.command('receive group-heir g');
      await session.lab.refused(giver, `group open g ${device}`, 'EBUSY');
      await session.expect(
        'open-failed',
        { device },
        {
          severity: 'warning',
          evidence: [],
          process: 'spdk-giver',
          // Where reading /proc takes long, what the events prove.
          message:
            /has passed it on: spdk-heir \(pid \d+\) has it open|spdk-giver \(pid \d+\) opened it .* before, and it was not closed/,
        },
      );
      await giver.command('quit');
      await heir.command('quit');
      await session.remove(device);
    },
  },
  {
    rules: ['remove-stall'],
    how: 'the wall clock is set ahead by a day while a removal waits',
    async run(session) {
      const { device, vmm } = await openWithoutVm(session, 'qemu-dated', 'mtty');
      const removal = session.remove(device);
      const evidence = ['vfio.device.open:end', 'vfio.unregister:begin'] as const;
      const expected = { severity: 'warning', holders: ['qemu-dated'], evidence } as const;
      await session.expect('remove-stall', { device }, expected);
      const before = await datesOf(session, device);
      await setClockAhead(session, 1);
      await vmm.command('quit');
      await removal;
      await session.expectEnd('remove-stall', { device });
      await setClockAhead(session, -1);
      const { firstSeen, resolved } = await datesOf(session, device);
      assert.deepEqual(firstSeen, before.firstSeen, 'its begin keeps its date');
      assert.ok(resolved);
      const lasted = (resolved.ns - firstSeen.ns) / SECOND;
      const apart = (Date.parse(resolved.at) - Date.parse(firstSeen.at)) / 1000;
      assert.ok(lasted > 0 && lasted < DAY / 24, `it lasted ${lasted} s`);
      assert.ok(Math.abs(apart - lasted - DAY) < 60, `its end is dated ${apart} s after its begin`);
    },
  },
];
