// SPDX-License-Identifier: Apache-2.0
/** The steps of the end-to-end scenario: correct lifecycles first, then every ordering violation that user space can cause. */
import { randomUUID } from 'node:crypto';
import type { Traits } from '../../src/events/traits.ts';
import type { LabSession } from './lab-session.ts';
import { MODULE_BTF } from './traits.ts';

export interface Step {
  readonly title: string;
  readonly run: (session: LabSession) => Promise<void>;
}

/** What a VMM passes behind the name of a device, and what must be in nothing that the agent writes. */
export const SECRET = '8f3a5c1e-77aa-4b10-9d2c-0123456789ab';

/** Attempts at winning a race before the step fails: a busy machine favours the other side. */
const RACE_TRIES = 300;
/** Longer than a leaked or a pinned VM takes to be reported, in all settings that lab sessions use; seconds. */
const LONG = 5;

export const STEPS: readonly Step[] = [
  {
    title: 'correct lifecycles: three devices, two VMs, no ordering violation',
    async run(session) {
      const [first, second, third] = [
        await session.create('mtty'),
        await session.create('mtty'),
        await session.create('mdpy'),
      ];
      const [a, b] = [session.vmm('qemu-a'), session.vmm('qemu-b')];
      await session.start(a, 'one', first);
      await session.start(b, 'two', second);
      await a.command('stop one');
      await b.command('stop two');
      await session.start(a, 'three', third);
      await a.command('stop three');
      await a.command('quit');
      await b.command('quit');
      for (const device of [first, second, third]) await session.remove(device);
    },
  },
  {
    title: 'a VMM is killed: no violation, the kernel cleans up',
    async run(session) {
      const device = await session.create('mtty');
      const vmm = session.vmm('qemu-killed');
      await session.start(vmm, 'a', device);
      await vmm.kill();
      await session.remove(device);
    },
  },
  {
    title: 'a vcpu, a forked child and a mapping outlive the VM descriptor: no violation either',
    async run(session) {
      const vmm = session.vmm('qemu-slow');
      for (const command of [
        'vm create v',
        'vcpu create v c 0',
        'fork start f',
        'close v',
        'close c',
      ]) {
        await vmm.command(command);
      }
      session.vms++;
      await session.evaluated(LONG);
      await vmm.command('fork end f');
      await vmm.command('vm create w');
      await vmm.command('vcpu create w d 0');
      // Its mapping alone keeps the VM.
      for (const command of ['vcpu map d', 'close d', 'close w']) await vmm.command(command);
      session.vms++;
      await session.evaluated(LONG);
      await vmm.command('quit');
    },
  },
  {
    title: 'one UUID twice, on the same parent and on another',
    async run(session) {
      const device = await session.create('mtty');
      await session.createRefused('mtty', device.uuid);
      await session.expect('duplicate-uuid', 'info', device.uuid);
      await session.createRefused('mdpy', device.uuid);
      await session.expect('duplicate-uuid', 'warning', device.uuid);
      await session.remove(device);
    },
  },
  {
    title: 'a device is opened before its group has a container',
    async run(session) {
      const device = await session.create('mtty');
      const vmm = session.vmm('hasty');
      await vmm.command(`group open g ${device.uuid}`);
      await session.refused(vmm, `device open d g ${device.uuid}`, 'EINVAL');
      await session.expect('open-failed', 'warning', device.uuid);
      await vmm.command('quit');
      await session.remove(device);
    },
  },
  {
    title: 'a device is requested with a VF token, which its driver does not accept',
    async run(session) {
      const device = await session.create('mtty');
      const vmm = session.vmm('confiding');
      await vmm.openGroup(device.uuid);
      const request = `device open d g ${device.uuid} vf_token=${SECRET}`;
      await session.refused(vmm, request, 'ENODEV');
      await session.expect('open-failed', 'warning', device.uuid);
      await vmm.command('quit');
      await session.remove(device);
    },
  },
  {
    title: 'a group is opened by a second process',
    async run(session) {
      const device = await session.create('mtty');
      const [owner, intruder] = [session.vmm('owner'), session.vmm('intruder')];
      await owner.command(`group open g ${device.uuid}`);
      await session.refused(intruder, `group open g ${device.uuid}`, 'EBUSY');
      await session.expect('open-failed', 'warning', device.uuid);
      await owner.command('quit');
      await intruder.command('quit');
      await session.remove(device);
    },
  },
  {
    title: 'a device is opened without a VM, and then a second time',
    async run(session) {
      const device = await session.create('mtty');
      const vmm = session.vmm('dpdk');
      await vmm.openGroup(device.uuid);
      await vmm.command(`device open d1 g ${device.uuid}`);
      await session.expect('open-without-kvm', 'info', device.uuid);
      await vmm.command(`device open d2 g ${device.uuid}`);
      await session.expect('nested-open', 'info', device.uuid);
      device.opens += 2;
      await vmm.command('close d2');
      await vmm.command('close d1');
      await vmm.command('quit');
      await session.remove(device);
    },
  },
  {
    title: 'a VMM maps a range for DMA that overlaps another',
    async run(session) {
      const device = await session.create('mtty');
      const vmm = session.vmm('overlapping');
      await session.start(vmm, 'a', device);
      await vmm.command('container map a.container 0 0x200000');
      await session.refused(vmm, 'container map a.container 0x1000 0x3000', 'EEXIST');
      await session.expect('dma-map-failed', 'warning', device.uuid);
      await vmm.command('stop a');
      await vmm.command('quit');
      await session.remove(device);
    },
  },
  {
    title: 'kvm-vfio clears the VM of an open device, then the VM is closed',
    async run(session) {
      const device = await session.create('mtty');
      const vmm = session.vmm('forgetful');
      await session.start(vmm, 'a', device);
      await vmm.command('kvmvfio del a.kvmvfio a.group');
      await session.expect('kvm-cleared-while-open', clearedKvm(session.traits), device.uuid);
      for (const file of ['a.kvmvfio', 'a.vcpu', 'a.vm']) await vmm.command(`close ${file}`);
      if (session.traits.coreHoldsVm) {
        await session.expect('vm-pinned-by-device', 'info', device.uuid);
        await session.untilRecorded();
      } else {
        await session.evaluated(LONG);
      }
      // Which VM a device points to can be read only with the modules' BTF.
      if (pointsToDeadVm(session.traits) && MODULE_BTF) {
        await session.expect('kvm-destroyed-while-captured', 'warning', device.uuid);
      }
      await vmm.command('close a.device');
      await vmm.command('quit');
      await session.remove(device);
    },
  },
  {
    title: 'a device is removed while a VM uses it, and its UUID is created again',
    async run(session) {
      const device = await session.create('mtty');
      const vmm = session.vmm('qemu-busy');
      await session.start(vmm, 'a', device);
      const removal = session.removeInBackground(device);
      await session.expect('remove-stall', 'warning', device.uuid);
      await session.untilRecorded();
      await session.createRefused('mtty', device.uuid);
      await session.expect('uuid-held-by-dying-device', 'warning', device.uuid);
      if (session.traits.opensDuringRemoval) {
        await vmm.command(`device open again a.group ${device.uuid}`);
        device.opens++;
        await session.expect('open-during-unregister', 'warning', device.uuid);
        await session.expect('nested-open', 'info', device.uuid);
        await vmm.command('close again');
      } else {
        await session.refused(vmm, `device open again a.group ${device.uuid}`, 'ENODEV');
        await session.expect('open-failed', 'warning', device.uuid);
      }
      await vmm.command('close a.device');
      // 5.10 also waits until the group is closed.
      await vmm.command('quit');
      await removal;
    },
  },
  {
    title: 'a device is removed while it is still being created',
    async run(session) {
      if (!session.traits.removeFileIsEarly) return;
      const uuid = await loseRemoveFile(session);
      await session.expect('remove-before-create-done', 'warning', uuid);
      await session.expect('remove-file-lost', 'error', uuid);
      await session.untilRecorded();
    },
  },
  {
    title: 'the drivers are unloaded, which removes the device that lost its remove file',
    async run(session) {
      await session.unloadDrivers();
    },
  },
];

/** Creates devices and writes to `remove` as soon as the file appears, until one write precedes the end of its create. */
async function loseRemoveFile(session: LabSession): Promise<string> {
  const create = await session.createFile('mtty');
  const parent = await session.sh('realpath /sys/class/mdev_bus/mtty');
  for (let i = 0; i < RACE_TRIES; i++) {
    const uuid = randomUUID();
    const file = `${parent}/${uuid}/remove`;
    const tooEarly = await session.try(
      `(until [ -e ${file} ]; do :; done; ! echo 1 > ${file}) 2>/dev/null & echo ${uuid} > ${create}; wait $!`,
    );
    session.devices.push({ uuid, parent: 'mtty', end: 'released', opens: 0 });
    if (tooEarly) return uuid;
  }
  throw new Error(`no remove came before its create was done, in ${RACE_TRIES} tries`);
}

/** The severity of clearing the VM of an open device. */
function clearedKvm({ coreHoldsVm, driversAreNotified }: Traits): string {
  if (coreHoldsVm) return 'info';
  // Drivers release it in a worker, or never.
  return driversAreNotified ? 'error' : 'warning';
}

/** Whether an open device still points to its VM after that was destroyed. */
function pointsToDeadVm({ coreHoldsVm, driversAreNotified }: Traits): boolean {
  return !coreHoldsVm && !driversAreNotified;
}
