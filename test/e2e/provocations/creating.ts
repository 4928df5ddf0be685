// SPDX-License-Identifier: Apache-2.0
/** Violations while an mdev is created. */
import { randomUUID } from 'node:crypto';
import { untilTicks } from '../clock.ts';
import type { Provocation } from './provocation.ts';
import { FIRST, type ProvocationSession, SECOND } from './session.ts';

/** Kernels on which an mdev's sysfs files appear before its driver has set it up. */
export const FILE_BEFORE_DRIVER = {
  where: { removeFileIsEarly: true },
  because: 'the file `remove` is the last thing that a create makes, so the race is all but lost',
} as const;

const INSTANCES = 16;
/** The longest delay that the driver is given, ms: longer than any machine needs for the rest of a create. */
const MOST_MS = 30_000;

async function expectRefusal(session: ProvocationSession, device: string): Promise<void> {
  await session.expect(
    'create-failed',
    { device },
    {
      severity: 'warning',
      evidence: ['mdev.create:begin', 'mdev.create:end'],
      process: 'admin',
      ...(session.traits.mdevsHaveDriver ? { kernelLog: /probe .*failed with error -5/ } : {}),
    },
  );
}

export const CREATING: readonly Provocation[] = [
  {
    rules: ['remove-before-create-done', 'remove-file-lost'],
    how: 'a device is removed while its driver is still setting it up',
    kernels: FILE_BEFORE_DRIVER,
    async run(session) {
      const uuid = randomUUID();
      const device = { device: uuid };
      let created: Promise<unknown> = Promise.resolve();
      await session.faulty({ hold_probe: 1 }, async () => {
        created = session.create(SECOND, uuid);
        const file = `/sys/bus/mdev/devices/${uuid}/remove`;
        await session.by('admin', `until [ -e ${file} ]; do :; done; ! echo 1 > ${file}`);
      });
      await created;
      await session.expect('remove-before-create-done', device, {
        severity: 'warning',
        evidence: ['mdev.create:begin', 'mdev.probe:begin', 'mdev.remove:begin', 'mdev.remove:end'],
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
    rules: ['create-serialised'],
    how: 'four devices are created at once, and their driver sets them up one after the other',
    async run(session) {
      // When creates on other parents take as long, or these do not begin at once, the rule attributes
      // the delay to the host and does not fire: so the driver's delay is doubled until it does.
      for (let probe_ms = 700; probe_ms < MOST_MS; probe_ms *= 2) {
        const uuids = [1, 2, 3, 4].map(() => randomUUID());
        // One shell starts them all, so that they begin at once on a busy machine, too.
        const creates = uuids.map((uuid) => `echo ${uuid} > ${session.typeOf(FIRST)}/create &`);
        await session.faulty({ probe_ms, under_lock: 1 }, () =>
          session.by('admin', `${creates.join(' ')} wait`),
        );
        await session.lab.evaluated();
        for (const uuid of uuids) await session.remove(uuid);
        if (await session.isReported('create-serialised', { parent: FIRST })) break;
      }
      await session.expect(
        'create-serialised',
        { parent: FIRST },
        { severity: 'info', evidence: ['mdev.create:begin', 'mdev.create:end'] },
      );
    },
  },
  {
    rules: ['instances-exhausted'],
    how: 'one device more is created than its parent has instances for',
    complaint: { pattern: /probe .*failed with error -28/, where: { mdevsHaveDriver: true } },
    async run(session) {
      const uuids: string[] = [];
      for (let i = 0; i < INSTANCES; i++) uuids.push(await session.create(FIRST));
      const refused = await session.createRefused(FIRST);
      await session.expect(
        'instances-exhausted',
        { device: refused },
        {
          severity: 'info',
          evidence: ['mdev.create:begin', 'mdev.create:end'],
          process: 'admin',
        },
      );
      await session.sh(
        uuids.map((uuid) => `echo 1 > /sys/bus/mdev/devices/${uuid}/remove`).join('; '),
      );
    },
  },
  {
    rules: ['instances-exhausted'],
    how: 'a device is removed, and its driver does not return its instance',
    async run(session) {
      // The rule reads the available instances of a parent that has had no device for a second, and
      // compares them at the tick after the answer; some ticks more, because they are read in the background.
      const settled = async () => {
        await session.lab.evaluated(1);
        await untilTicks(session.lab, 5);
      };
      await settled();
      const isReported = () => session.isReported('instances-exhausted', { parent: SECOND });
      // On a slow machine the first answer may come after an instance was lost, and only another one is missed.
      for (let lost = 0; lost < INSTANCES && !(await isReported()); lost++) {
        await session.faulty({ leak_instance: 1 }, async () =>
          session.remove(await session.create(SECOND)),
        );
        await settled();
      }
      await session.expect(
        'instances-exhausted',
        { parent: SECOND },
        { severity: 'error', evidence: ['mdev.parent.register:end'] },
      );
      await session.putLeaked();
      await session.expectEnd('instances-exhausted', { parent: SECOND });
    },
  },
  {
    rules: ['create-failed'],
    how: 'the driver refuses a device after it has registered it',
    complaint: { pattern: /probe .*failed with error -5/, where: { mdevsHaveDriver: true } },
    async run(session) {
      const uuid = await session.faulty({ fail_probe: 1 }, () => session.createRefused());
      await expectRefusal(session, uuid);
    },
  },
  {
    rules: ['failed-create-leak', 'create-failed'],
    how: 'a create fails, and its driver keeps the mdev',
    complaint: { pattern: /probe .*failed with error -5/, where: { mdevsHaveDriver: true } },
    async run(session) {
      const uuid = await session.faulty({ fail_probe: 1, leak_dev: 1 }, () =>
        session.createRefused(),
      );
      await expectRefusal(session, uuid);
      await session.expect(
        'failed-create-leak',
        { device: uuid },
        {
          severity: 'error',
          evidence: ['mdev.create:begin', 'mdev.create:end'],
          process: 'admin',
        },
      );
      await session.putLeaked();
      await session.expectEnd('failed-create-leak', { device: uuid });
    },
  },
  {
    rules: ['failed-create-leak', 'create-failed'],
    how: 'a create fails, and its driver keeps the vfio_device',
    kernels: {
      where: { vfioDeviceIsCounted: true },
      because: 'a driver has no vfio_device there; vfio_mdev makes it',
    },
    complaint: { pattern: /probe .*failed with error -5/, where: { mdevsHaveDriver: true } },
    async run(session) {
      const uuid = await session.faulty({ fail_probe: 1, leak_vdev: 1 }, () =>
        session.createRefused(),
      );
      await expectRefusal(session, uuid);
      await session.expect(
        'failed-create-leak',
        { device: uuid },
        {
          severity: 'error',
          evidence: ['mdev.create:begin', 'vfio.init:end', 'mdev.create:end'],
          process: 'admin',
        },
      );
      await session.putLeaked();
    },
  },
];
