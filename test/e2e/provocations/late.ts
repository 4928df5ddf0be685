// SPDX-License-Identifier: Apache-2.0
/** What only an agent tells that has not seen all. */
import { randomUUID } from 'node:crypto';
import { FILE_BEFORE_DRIVER } from './creating.ts';
import type { Provocation } from './provocation.ts';
import { SECOND } from './scene.ts';

const ONE_PAGE = 4096;

export const LATE: readonly Provocation[] = [
  {
    rules: ['remove-failed'],
    how: 'an agent starts while a device is being set up, and the device is removed before that ends',
    kernels: FILE_BEFORE_DRIVER,
    async play(scene) {
      const uuid = randomUUID();
      const device = { device: uuid };
      const file = `/sys/bus/mdev/devices/${uuid}/remove`;
      let created: Promise<unknown> = Promise.resolve();
      await scene.faulty({ hold_probe: 1 }, async () => {
        created = scene.create(SECOND, uuid);
        await scene.sh(`until [ -e ${file} ]; do sleep 0.1; done`);
        const late = await scene.lateAgent();
        await scene.by('admin', `! echo 1 > ${file}`);
        const told = {
          quality: 'late',
          evidence: ['mdev.remove:begin', 'mdev.remove:end'],
          process: 'admin',
        } as const;
        await scene.expect('remove-failed', device, { severity: 'warning', ...told }, late);
        await late.stop();
      });
      await created;
      await scene.expect('remove-before-create-done', device, {
        severity: 'warning',
        evidence: ['mdev.create:begin', 'mdev.remove:begin', 'mdev.remove:end'],
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
    rules: ['observer-gap'],
    how: 'an agent is held up while more happens than its ring of one page has room for',
    async play(scene) {
      const late = await scene.lateAgent('--ring-bytes', `${ONE_PAGE}`);
      late.process.signal('SIGSTOP');
      for (let i = 0; i < 8; i++) await scene.remove(await scene.create());
      late.process.signal('SIGCONT');
      await scene.expect('observer-gap', 'the host', { severity: 'warning', evidence: [] }, late);
      await late.stop();
    },
  },
];
