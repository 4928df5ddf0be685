// SPDX-License-Identifier: Apache-2.0
/** What goes wrong when an mdev is made. */
import { randomUUID } from 'node:crypto';
import type { Provocation } from './provocation.ts';
import { FIRST, SECOND } from './scene.ts';

/** In its own files an mdev appears before its driver has set it up. */
export const FILE_BEFORE_DRIVER = {
  from: [6, 1],
  because: 'the file `remove` is the last thing that a create makes, so the race is all but lost',
} as const;

const PLACES = 16;

export const CREATING: readonly Provocation[] = [
  {
    rules: ['remove-before-create-done', 'remove-file-lost'],
    how: 'a device is removed while its driver takes its time to set it up',
    kernels: FILE_BEFORE_DRIVER,
    async play(scene) {
      const uuid = randomUUID();
      const device = { device: uuid };
      await scene.faulty({ probe_ms: 1500 }, async () => {
        const created = scene.create(SECOND, uuid);
        const file = `/sys/bus/mdev/devices/${uuid}/remove`;
        await scene.by('admin', `until [ -e ${file} ]; do :; done; ! echo 1 > ${file}`);
        await created;
      });
      await scene.expect('remove-before-create-done', device, {
        severity: 'warning',
        evidence: ['mdev.create:begin', 'mdev.probe:begin', 'mdev.remove:begin', 'mdev.remove:end'],
        process: 'admin',
      });
      await scene.expect('remove-file-lost', device, {
        severity: 'error',
        evidence: ['mdev.remove:begin', 'mdev.remove:end'],
        process: 'admin',
      });
      await scene.withdraw(SECOND);
      await scene.expectEnd('remove-file-lost', device);
      await scene.offer(SECOND);
    },
  },
  {
    rules: ['create-serialised'],
    how: 'four devices are created at once, and their driver sets them up one after the other',
    async play(scene) {
      // While creations on other parents take as long, the host may be what is slow, and nobody is told.
      for (let tries = 0; tries < 5; tries++) {
        const uuids = [1, 2, 3, 4].map(() => randomUUID());
        // By one shell, so that they begin at once on a busy machine, too.
        const creates = uuids.map((uuid) => `echo ${uuid} > ${scene.typeOf(FIRST)}/create &`);
        await scene.faulty({ probe_ms: 700, under_lock: 1 }, () =>
          scene.by('admin', `${creates.join(' ')} wait`),
        );
        await scene.rest(1);
        for (const uuid of uuids) await scene.remove(uuid);
        if (await scene.isTold('create-serialised', { parent: FIRST })) break;
      }
      await scene.expect(
        'create-serialised',
        { parent: FIRST },
        { severity: 'info', evidence: ['mdev.create:begin', 'mdev.create:end'] },
      );
    },
  },
  {
    rules: ['instances-exhausted'],
    how: 'one device more is created than its parent has places for',
    complaint: { words: /probe .*failed with error -28/, from: [6, 1] },
    async play(scene) {
      const uuids: string[] = [];
      for (let i = 0; i < PLACES; i++) uuids.push(await scene.create(FIRST));
      const refused = await scene.createRefused(FIRST);
      await scene.expect(
        'instances-exhausted',
        { device: refused },
        {
          severity: 'info',
          evidence: ['mdev.create:begin', 'mdev.create:end'],
          process: 'admin',
        },
      );
      await scene.sh(
        uuids.map((uuid) => `echo 1 > /sys/bus/mdev/devices/${uuid}/remove`).join('; '),
      );
    },
  },
  {
    rules: ['instances-exhausted'],
    how: 'a device is removed, and its driver does not give its place back',
    async play(scene) {
      // So long until the agent knows what a parent offers that has no device.
      await scene.rest(4);
      await scene.faulty({ leak_instance: 1 }, async () =>
        scene.remove(await scene.create(SECOND)),
      );
      await scene.expect(
        'instances-exhausted',
        { parent: SECOND },
        { severity: 'error', evidence: ['mdev.parent.register:end'] },
      );
      await scene.putRight();
      await scene.expectEnd('instances-exhausted', { parent: SECOND });
    },
  },
  {
    rules: ['failed-create-leak'],
    how: 'a create fails, and its driver keeps the mdev',
    complaint: { words: /probe .*failed with error -5/ },
    async play(scene) {
      const uuid = await scene.faulty({ fail_probe: 1, leak_dev: 1 }, () => scene.createRefused());
      await scene.expect(
        'failed-create-leak',
        { device: uuid },
        {
          severity: 'error',
          evidence: ['mdev.create:begin', 'mdev.create:end'],
          process: 'admin',
        },
      );
      await scene.putRight();
      await scene.expectEnd('failed-create-leak', { device: uuid });
    },
  },
  {
    rules: ['failed-create-leak'],
    how: 'a create fails, and its driver keeps the vfio_device',
    kernels: { from: [6, 1], because: 'a driver has no vfio_device there; vfio_mdev makes it' },
    complaint: { words: /probe .*failed with error -5/ },
    async play(scene) {
      const uuid = await scene.faulty({ fail_probe: 1, leak_vdev: 1 }, () => scene.createRefused());
      await scene.expect(
        'failed-create-leak',
        { device: uuid },
        {
          severity: 'error',
          evidence: ['mdev.create:begin', 'vfio.init:end', 'mdev.create:end'],
          process: 'admin',
        },
      );
      await scene.putRight();
    },
  },
];
