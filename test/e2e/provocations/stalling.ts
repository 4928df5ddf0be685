// SPDX-License-Identifier: Apache-2.0
/** Calls that do not return: the driver waits in its callbacks until a parameter is switched off. */
import { randomUUID } from 'node:crypto';
import type { Provocation } from './provocation.ts';
import { SECOND } from './session.ts';

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
        const evidence = session.since(6, 1) ? (['vfio.device.open:begin'] as const) : [];
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
];
