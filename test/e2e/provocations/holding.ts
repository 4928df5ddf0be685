// SPDX-License-Identifier: Apache-2.0
/** Devices that are held by another process than their opener, or without a descriptor. */

import type { Provocation } from './provocation.ts';
import { type ProvocationSession, runCommands } from './session.ts';

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

export const HOLDING: readonly Provocation[] = [
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
];
