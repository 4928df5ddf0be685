// SPDX-License-Identifier: Apache-2.0
/** Violations that only an agent reports that did not observe everything. */
import { randomUUID } from 'node:crypto';
import { FILE_BEFORE_DRIVER } from './creating.ts';
import type { Provocation } from './provocation.ts';
import { OWN_MDEV_DRIVER } from './removing.ts';
import { SECOND } from './session.ts';

const ONE_PAGE = 4096;
/** Of a stall that began before the agent. */
const INFERRED = { severity: 'warning', quality: 'partial', evidence: [] } as const;

export const LATE: readonly Provocation[] = [
  {
    rules: ['remove-failed'],
    how: 'an agent starts while a device is being set up, and the device is removed before that ends',
    kernels: FILE_BEFORE_DRIVER,
    async run(session) {
      const uuid = randomUUID();
      const device = { device: uuid };
      const file = `/sys/bus/mdev/devices/${uuid}/remove`;
      let created: Promise<unknown> = Promise.resolve();
      await session.faulty({ hold_probe: 1 }, async () => {
        created = session.create(SECOND, uuid);
        await session.sh(`until [ -e ${file} ]; do sleep 0.1; done`);
        const late = await session.lateAgent();
        await session.by('admin', `! echo 1 > ${file}`);
        const expected = {
          quality: 'partial',
          evidence: ['mdev.remove:begin', 'mdev.remove:end'],
          process: 'admin',
        } as const;
        await session.expect('remove-failed', device, { severity: 'warning', ...expected }, late);
        await late.stop();
      });
      await created;
      await session.expect('remove-before-create-done', device, {
        severity: 'warning',
        evidence: ['mdev.create:begin', 'mdev.remove:begin', 'mdev.remove:end'],
        process: 'admin',
      });
      await session.expect('remove-file-lost', device, {
        severity: 'error',
        evidence: ['mdev.remove:begin', 'mdev.remove:end'],
        process: 'admin',
      });
      await session.unregister(SECOND);
      await session.expectEnd('remove-file-lost', device);
      await session.register(SECOND);
    },
  },
  {
    rules: ['remove-stall'],
    how: 'an agent starts late, while a driver does not return from the removal of a device that nobody has open',
    kernels: OWN_MDEV_DRIVER,
    async run(session) {
      const device = await session.create();
      let removal: Promise<unknown> = Promise.resolve();
      const expected = { process: 'admin', blocked: 'admin' } as const;
      await session.faulty({ hold_remove: 1 }, async () => {
        removal = session.remove(device);
        await session.untilRemoving(device);
        const late = await session.lateAgent();
        await session.expect(
          'remove-stall',
          { device },
          {
            ...{ ...expected, ...INFERRED },
            message: /by admin \(pid \d+\) has been in the driver for at least \d/,
          },
          late,
        );
        await late.stop();
        const evidence = ['mdev.unbind:begin'] as const;
        await session.expect(
          'remove-stall',
          { device },
          { ...expected, severity: 'warning', evidence },
        );
      });
      await removal;
      await session.expectEnd('remove-stall', { device });
    },
  },
  {
    rules: ['parent-unregister-stall', 'remove-stall'],
    how: 'an agent starts late, while a driver does not return from a removal with which its parent is unregistered',
    kernels: OWN_MDEV_DRIVER,
    async run(session) {
      const device = await session.create(SECOND);
      const parent = { parent: SECOND };
      let unregistration: Promise<unknown> = Promise.resolve();
      const expected = { process: 'admin', blocked: 'admin' } as const;
      await session.faulty({ hold_remove: 1 }, async () => {
        unregistration = session.unregister(SECOND);
        await session.untilRemoving(device);
        const late = await session.lateAgent();
        await session.expect(
          'parent-unregister-stall',
          parent,
          {
            ...{ ...expected, ...INFERRED },
            message:
              /^admin \(pid \d+\) has been unregistering a parent, probably .*, for at least \d/,
          },
          late,
        );
        await session.expect(
          'remove-stall',
          { device },
          {
            ...{ ...expected, ...INFERRED },
            message: /by probably admin \(pid \d+\) has been in the driver for at least \d/,
          },
          late,
        );
        await late.stop();
        const severity = 'warning';
        await session.expect('parent-unregister-stall', parent, {
          ...{ ...expected, severity },
          evidence: ['mdev.parent.unregister:begin'],
        });
        await session.expect(
          'remove-stall',
          { device },
          { ...expected, severity, evidence: ['mdev.unbind:begin'] },
        );
      });
      await unregistration;
      await session.expectEnd('parent-unregister-stall', parent);
      await session.register(SECOND);
    },
  },
  {
    rules: ['never-opened'],
    how: 'an mdev is created and not opened, by the clock of an agent that does not wait for hours',
    async run(session) {
      const impatient = await session.impatientAgent();
      const uuid = await session.create();
      await session.expect(
        'never-opened',
        { device: uuid },
        { severity: 'info', evidence: ['mdev.create:begin', 'mdev.create:end'] },
        impatient,
      );
      await impatient.stop();
      await session.remove(uuid);
    },
  },
  {
    rules: ['observer-gap'],
    how: 'an agent is paused while more events happen than fit into its ring of one page',
    async run(session) {
      const late = await session.lateAgent('--ring-bytes', `${ONE_PAGE}`);
      late.process.signal('SIGSTOP');
      for (let i = 0; i < 8; i++) await session.remove(await session.create());
      late.process.signal('SIGCONT');
      await session.expect('observer-gap', 'the host', { severity: 'warning', evidence: [] }, late);
      await late.stop();
    },
  },
];
