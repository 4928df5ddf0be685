// SPDX-License-Identifier: Apache-2.0
/** Violations that user space can cause by system calls alone, on the kernel's own sample drivers. */

import assert from 'node:assert/strict';
import type { EventKind } from '../../../src/events/points.ts';
import { SECRET, STEPS } from '../steps.ts';
import type { Provocation } from './provocation.ts';
import { type ProvocationSession, runCommands } from './session.ts';

/** Steps of the end-to-end scenario, with the rules that they violate. */
const OF_THE_SCENARIO: Readonly<Record<string, readonly string[]>> = {
  'one UUID twice, on the same parent and on another': ['duplicate-uuid'],
  'a device is opened before its group has a container': ['open-failed'],
  'a device is requested with a VF token, which its driver does not accept': ['open-failed'],
  'a VMM maps a range for DMA that overlaps another': ['dma-map-failed'],
  'a device is opened without a VM, and then a second time': ['open-without-kvm', 'nested-open'],
  'kvm-vfio clears the VM of an open device, then the VM is closed': [
    'kvm-cleared-while-open',
    'vm-pinned-by-device',
    'kvm-destroyed-while-captured',
  ],
  'a device is removed while a VM uses it, and its UUID is created again': [
    'remove-stall',
    'uuid-held-by-dying-device',
    'open-during-unregister',
  ],
};

/** The event kinds that the evidence of violations of these rules must have. */
export const EVIDENCE: Readonly<Record<string, readonly EventKind[]>> = {
  'duplicate-uuid': [
    'mdev.create:begin',
    'mdev.create:end',
    'mdev.create:begin',
    'mdev.create:end',
  ],
  'dma-map-failed': ['vfio.device.open:end', 'vfio.dma.map:end'],
  'nested-open': ['vfio.device.open:end', 'vfio.device.open:end'],
  'kvm-cleared-while-open': ['vfio.device.open:end', 'vfio.group.set_kvm:begin'],
  'vm-pinned-by-device': ['kvm.vm.init:end', 'vfio.device.open:end', 'kvm.vm.fd_close:begin'],
  'kvm-destroyed-while-captured': ['vfio.device.open:end', 'kvm.vm.destroy:begin'],
  // One that is stuck in its driver has not begun to wait for users.
  'remove-stall': [],
  'uuid-held-by-dying-device': ['mdev.remove:begin', 'mdev.create:begin', 'mdev.create:end'],
  'open-during-unregister': ['vfio.unregister:begin', 'vfio.device.open:end'],
};

async function createOn(session: ProvocationSession): Promise<string> {
  return (await session.lab.create('mtty')).uuid;
}

export const BY_USER: readonly Provocation[] = [
  ...STEPS.filter(({ title }) => title in OF_THE_SCENARIO).map(({ title, run }) => ({
    rules: OF_THE_SCENARIO[title],
    how: title,
    run: ({ lab }: ProvocationSession) => run(lab),
  })),
  {
    rules: ['open-failed'],
    how: 'a device is requested with the VF token in front of its name, or in place of it',
    async run(session) {
      const device = await createOn(session);
      const vmm = await session.openGroup('qemu-confused', device);
      for (const end of [` ${device}`, '']) {
        const request = `device open d g vf_token=${SECRET}${end}`;
        await session.lab.refused(vmm, request, 'ENODEV');
      }
      await session.expect('open-failed', 'the host', {
        severity: 'warning',
        evidence: [],
        process: 'qemu-confused',
        message: /could not open vf_token in group \d+: ENODEV/,
      });
      for (const path of ['/api/v1/violations', '/api/v1/probes', '/api/v1/devices']) {
        const answer = JSON.stringify(await session.lab.api(path));
        assert.ok(!answer.includes(SECRET.slice(0, 8)), path);
      }
      await vmm.command('quit');
      await session.remove(device);
    },
  },
  {
    rules: ['mdev-driverless'],
    how: 'the driver of an mdev is unbound from it',
    async run(session) {
      const device = await createOn(session);
      await session.by('admin', `echo ${device} > /sys/bus/mdev/devices/${device}/driver/unbind`);
      await session.expect(
        'mdev-driverless',
        { device },
        {
          severity: 'warning',
          evidence: ['mdev.create:end', 'mdev.unbind:begin', 'mdev.unbind:end'],
        },
      );
      await session.remove(device);
      await session.expectEnd('mdev-driverless', { device });
    },
  },
  {
    rules: ['kvm-set-after-open'],
    how: 'a device is opened before its group is added to kvm-vfio',
    async run(session) {
      const device = await createOn(session);
      const vmm = await session.openGroup('qemu-late', device);
      await runCommands(vmm, [`device open d g ${device}`, 'vm create v', 'kvmvfio create v k']);
      await session.expect(
        'open-without-kvm',
        { device },
        { severity: 'info', evidence: ['vfio.device.open:end'], process: 'qemu-late' },
      );
      await vmm.command('kvmvfio add k g');
      await session.expect(
        'kvm-set-after-open',
        { device },
        {
          severity: session.traits.driversAreNotified ? 'info' : 'warning',
          evidence: ['vfio.device.open:end', 'vfio.group.set_kvm:begin'],
          process: 'qemu-late',
        },
      );
      await runCommands(vmm, ['close d', 'quit']);
      await session.remove(device);
    },
  },
  {
    rules: ['kvm-changed-while-open'],
    how: 'a group whose device is open is added to kvm-vfio of a second VM',
    async run(session) {
      const device = await createOn(session);
      const vmm = await session.openFor('qemu-twice', device);
      await runCommands(vmm, ['vm create v', 'kvmvfio create v k', 'kvmvfio add k a.group']);
      await session.expect(
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
      await runCommands(vmm, ['close a.device', 'quit']);
      await session.remove(device);
    },
  },
  {
    rules: ['unset-container-busy'],
    how: 'a VMM tries to detach a group from its container while its device is open',
    async run(session) {
      const device = await createOn(session);
      const vmm = await session.openFor('qemu-hurry', device);
      await session.lab.refused(vmm, 'group detach a.group', 'EBUSY');
      await session.expect(
        'unset-container-busy',
        { device },
        { severity: 'info', evidence: ['vfio.device.open:end'], process: 'qemu-hurry' },
      );
      await vmm.command('stop a');
      await vmm.command('quit');
      await session.remove(device);
    },
  },
  {
    rules: ['removed-by-another'],
    how: 'a device that a VM uses is removed by a process of another control group',
    async run(session) {
      const device = await createOn(session);
      const vmm = await session.openFor('qemu-owned', device);
      const others = '/sys/fs/cgroup/others';
      await session.sh(`mkdir -p ${others}`);
      const removal = session.by(
        'intruder',
        `echo $$ > ${others}/cgroup.procs; echo 1 > /sys/bus/mdev/devices/${device}/remove`,
      );
      await session.expect(
        'removed-by-another',
        { device },
        {
          severity: 'warning',
          evidence: ['mdev.create:begin', 'vfio.device.open:end', 'mdev.remove:begin'],
          process: 'intruder',
          holders: ['qemu-owned'],
        },
      );
      await vmm.command('close a.device');
      await vmm.command('quit');
      await removal;
    },
  },
];
