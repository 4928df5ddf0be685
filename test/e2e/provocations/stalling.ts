// SPDX-License-Identifier: Apache-2.0
/** Calls that do not return: the driver waits in its callbacks until a parameter is switched off. */
import { randomUUID } from 'node:crypto';
import type { Provocation } from './provocation.ts';
import { SECOND } from './session.ts';

/** QEMU's test device, which no driver of the host takes. */
const TEST_DEVICE = '0x1b36:0x0005';

export const STALLING: readonly Provocation[] = [
  {
    rules: ['open-stall', 'close-stall'],
    how: 'a driver does not return from the open of a device, and later not from its close',
    async run(session) {
      const device = await session.create();
      const vmm = session.vmm('qemu-stuck');
      let call: Promise<unknown> = Promise.resolve();
      const expected = {
        severity: 'warning',
        process: 'qemu-stuck',
        blocked: 'qemu-stuck',
      } as const;
      await session.faulty({ hold_open: 1 }, async () => {
        call = vmm.command(`start a ${device}`);
        // On 5.10 the begin of an open is known only when the request for it returns.
        const { opensAreOneFunction, containerIsCheckedAtOpen } = session.traits;
        const hasBegin = opensAreOneFunction || containerIsCheckedAtOpen;
        const evidence = hasBegin ? (['vfio.device.open:begin'] as const) : [];
        await session.expect('open-stall', { device }, { ...expected, evidence });
      });
      await call;
      await session.expectEnd('open-stall', { device });
      await session.faulty({ hold_close: 1 }, async () => {
        call = vmm.command('stop a');
        await session.expect(
          'close-stall',
          { device },
          { ...expected, evidence: ['vfio.device.open:end', 'vfio.device.close:begin'] },
        );
      });
      await call;
      await session.expectEnd('close-stall', { device });
      await vmm.command('quit');
      await session.remove(device);
    },
  },
  {
    rules: ['open-stall', 'remove-stall'],
    how: 'a driver does not return from an open, a second process waits to open the device, and it is removed',
    kernels: {
      where: { opensAreOneFunction: true },
      because: 'the requests of one group do not wait for each other there',
    },
    async run(session) {
      const device = await session.create();
      const first = await session.openGroup('qemu-first', device);
      const second = session.vmm('qemu-second');
      await second.command('inbox open second');
      await first.command('send g second');
      await second.command('receive second g');
      const wchan = `/proc/${await first.command('pid')}/wchan`;
      let removal: Promise<unknown> = Promise.resolve();
      let opens: Promise<unknown>[] = [];
      await session.faulty({ hold_open: 1 }, async () => {
        opens = [first.command(`device open d g ${device}`)];
        await session.sh(`until grep -q hold ${wchan}; do sleep 0.1; done`);
        opens.push(second.command(`device open d g ${device}`));
        const untilSecond = (seconds: number) =>
          session.lab.until(`the second open has taken ${seconds} s`, async () => {
            const { operations } = await session.lab.api<{
              operations: { process: { comm: string }; durationNs: number }[];
            }>('/api/v1/operations');
            return operations.some(
              ({ process, durationNs }) =>
                process.comm === 'qemu-second' && durationNs > seconds * 1e9,
            );
          });
        await untilSecond(0);
        removal = session.remove(device);
        const severity = 'warning';
        await session.expect('open-stall', { device }, { severity, evidence: [] });
        await session.expect(
          'remove-stall',
          { device },
          {
            severity,
            evidence: ['vfio.device.open:begin', 'vfio.unregister:begin'],
            holders: ['qemu-first'],
            message:
              /is still being opened by qemu-first \(pid \d+\), whose call that opens it began/,
          },
        );
        await untilSecond(6);
      });
      await Promise.all(opens);
      // The second request began before the removal, so it is no open-during-unregister.
      for (const [rule, severity] of [
        ['open-without-kvm', 'error'],
        ['nested-open', 'warning'],
        ['open-stall', 'warning'],
      ] as const) {
        const process = rule === 'open-without-kvm' ? 'qemu-first' : 'qemu-second';
        await session.expect(rule, { device }, { severity, evidence: [], process });
      }
      await Promise.all([first.command('quit'), second.command('quit'), removal]);
      await session.expectEnd('remove-stall', { device });
    },
  },
  {
    rules: ['create-stall'],
    how: 'a driver does not return from its probe callback within a write to create',
    async run(session) {
      const device = randomUUID();
      let created: Promise<unknown> = Promise.resolve();
      await session.faulty({ hold_probe: 1 }, async () => {
        created = session.create(SECOND, device);
        await session.expect(
          'create-stall',
          { device },
          {
            severity: 'warning',
            evidence: ['mdev.create:begin'],
            process: 'admin',
            blocked: 'admin',
          },
        );
      });
      await created;
      await session.expectEnd('create-stall', { device });
      await session.remove(device);
    },
  },
  {
    rules: ['bind-stall'],
    how: 'a driver does not return when a PCI device is bound to it, and the device is unbound meanwhile',
    kernels: {
      where: { vfioDeviceIsCounted: true },
      because: 'VFIO calls no driver there while it sets a device up',
    },
    async run(session) {
      const device = (
        await session.sh(
          `for d in /sys/bus/pci/devices/*; do [ "$(cat $d/vendor):$(cat $d/device)" = ${TEST_DEVICE} ] && break; done; ` +
            'echo faulty > $d/driver_override; basename $d',
        )
      ).trim();
      const driver = '/sys/bus/pci/drivers/faulty';
      let calls: Promise<unknown>[] = [];
      await session.faulty({ hold_probe: 1 }, async () => {
        const binding = session.by('admin', `echo ${device} > ${driver}/bind`);
        await session.sh(`until [ -e ${driver}/${device} ]; do sleep 0.1; done`);
        calls = [binding, session.by('operator', `echo ${device} > ${driver}/unbind`)];
        await session.expect(
          'bind-stall',
          { device },
          {
            severity: 'warning',
            evidence: ['vfio.init:begin'],
            process: 'admin',
            blocked: 'admin',
            waiters: { operator: 'probably waits' },
            message: /^The set-up of \S+ by its driver.* for admin \(pid \d+, .* has been running/,
          },
        );
      });
      await Promise.all(calls);
      await session.expectEnd('bind-stall', { device });
    },
  },
  {
    rules: ['vm-destroy-stall'],
    how: "a driver does not return when the memory of a process is released, and another process's VM is destroyed",
    async run(session) {
      const device = await session.create();
      const impatient = await session.impatientAgent();
      const other = session.vmm('qemu-waiting');
      await other.command('vm create v');
      const vm = { vm: await other.command('pid') };
      let call: Promise<unknown> = Promise.resolve();
      await session.faulty({ hold_memory: 1 }, async () => {
        const leaving = await session.openFor('qemu-leaving', device);
        const stack = `/proc/${await leaving.command('pid')}/stack`;
        await leaving.command('quit');
        await session.sh(`until grep -qF "[faulty]" ${stack}; do sleep 0.1; done`);
        call = other.command('close v');
        await session.expect(
          'vm-destroy-stall',
          vm,
          {
            severity: 'warning',
            evidence: ['kvm.vm.init:end', 'kvm.vm.destroy:begin'],
            process: 'qemu-waiting',
            blocked: 'qemu-waiting',
            message:
              /^The destruction of the VM of qemu-waiting \(pid \d+\).*, blocked in \S+ \(D\)/,
          },
          impatient,
        );
      });
      await call;
      await other.command('quit');
      await impatient.stop();
      await session.remove(device);
    },
  },
];
