// SPDX-License-Identifier: Apache-2.0
/** What is done to a real kernel: correct lives first, then every wrong order that user space can cause. */
import { randomUUID } from 'node:crypto';
import type { Stage } from './stage.ts';
import { MODULE_BTF } from './traits.ts';

export interface Act {
  readonly title: string;
  readonly play: (stage: Stage) => Promise<void>;
}

/** Tries that a race may take before it is lost for good. */
const RACE_TRIES = 30;

export const ACTS: readonly Act[] = [
  {
    title: 'correct lives: three devices, two VMs, everything in order',
    async play(stage) {
      const [first, second, third] = [
        await stage.create('mtty'),
        await stage.create('mtty'),
        await stage.create('mdpy'),
      ];
      const [a, b] = [stage.vmm('qemu-a'), stage.vmm('qemu-b')];
      await stage.start(a, 'one', first);
      await stage.start(b, 'two', second);
      await a.order('stop one');
      await b.order('stop two');
      await stage.start(a, 'three', third);
      await a.order('stop three');
      await a.order('quit');
      await b.order('quit');
      for (const life of [first, second, third]) await stage.remove(life);
    },
  },
  {
    title: 'a VMM is killed: no violation, the kernel cleans up',
    async play(stage) {
      const life = await stage.create('mtty');
      const vmm = stage.vmm('qemu-killed');
      await stage.start(vmm, 'a', life);
      await vmm.kill();
      await stage.remove(life);
    },
  },
  {
    title: 'a vcpu and a forked child outlive the VM descriptor: no violation either',
    async play(stage) {
      const vmm = stage.vmm('qemu-slow');
      for (const order of [
        'vm create v',
        'vcpu create v c 0',
        'fork start f',
        'close v',
        'close c',
      ]) {
        await vmm.order(order);
      }
      stage.vms++;
      // Longer than a leak takes to be called one.
      await vmm.order('sleep 3000');
      await vmm.order('fork end f');
      await vmm.order('vm create w');
      await vmm.order('vcpu create w d 0');
      await vmm.order('close w');
      stage.vms++;
      await vmm.order('sleep 3000');
      await vmm.order('quit');
    },
  },
  {
    title: 'one UUID twice, on the same parent and on another',
    async play(stage) {
      const life = await stage.create('mtty');
      await stage.createRefused('mtty', life.uuid);
      await stage.expect('duplicate-uuid', 'info', life.uuid);
      await stage.createRefused('mdpy', life.uuid);
      await stage.expect('duplicate-uuid', 'warning', life.uuid);
      await stage.remove(life);
    },
  },
  {
    title: 'a device is opened before its group has a container',
    async play(stage) {
      const life = await stage.create('mtty');
      const vmm = stage.vmm('hasty');
      await vmm.order(`group open g ${life.uuid}`);
      await stage.refused(vmm, `device open d g ${life.uuid}`, 'EINVAL');
      await stage.expect('open-failed', 'warning', life.uuid);
      await vmm.order('quit');
      await stage.remove(life);
    },
  },
  {
    title: 'a group is opened by a second process',
    async play(stage) {
      const life = await stage.create('mtty');
      const [owner, intruder] = [stage.vmm('owner'), stage.vmm('intruder')];
      await owner.order(`group open g ${life.uuid}`);
      await stage.refused(intruder, `group open g ${life.uuid}`, 'EBUSY');
      await stage.expect('open-failed', 'warning', life.uuid);
      await owner.order('quit');
      await intruder.order('quit');
      await stage.remove(life);
    },
  },
  {
    title: 'a device is opened without a VM, and then a second time',
    async play(stage) {
      const life = await stage.create('mtty');
      const vmm = stage.vmm('dpdk');
      await vmm.order('container open c');
      await vmm.order(`group open g ${life.uuid}`);
      await vmm.order('group attach g c');
      await vmm.order('container iommu c');
      await vmm.order(`device open d1 g ${life.uuid}`);
      await stage.expect('open-without-kvm', 'info', life.uuid);
      await vmm.order(`device open d2 g ${life.uuid}`);
      await stage.expect('nested-open', 'info', life.uuid);
      life.opens += 2;
      await vmm.order('close d2');
      await vmm.order('close d1');
      await vmm.order('quit');
      await stage.remove(life);
    },
  },
  {
    title: 'the VM is taken from a device that is open, then closed under it',
    async play(stage) {
      const life = await stage.create('mtty');
      const vmm = stage.vmm('forgetful');
      await stage.start(vmm, 'a', life);
      await vmm.order('kvmvfio del a.kvmvfio a.group');
      await stage.expect('kvm-cleared-while-open', stage.traits.clearedKvm.value, life.uuid);
      for (const file of ['a.kvmvfio', 'a.vcpu', 'a.vm']) await vmm.order(`close ${file}`);
      if (stage.traits.deviceHoldsVm.value) {
        await stage.expect('vm-pinned-by-device', 'info', life.uuid);
        await stage.untilRecorded();
      } else {
        // As long as it would take to be called pinned.
        await vmm.order('sleep 3000');
      }
      // What a device points to is in the modules' own types.
      if (stage.traits.devicePointsToDeadVm.value && MODULE_BTF) {
        await stage.expect('kvm-destroyed-while-captured', 'warning', life.uuid);
      }
      await vmm.order('close a.device');
      await vmm.order('quit');
      await stage.remove(life);
    },
  },
  {
    title: 'a device is removed while a VM uses it, and its UUID wanted again',
    async play(stage) {
      const life = await stage.create('mtty');
      const vmm = stage.vmm('qemu-busy');
      await stage.start(vmm, 'a', life);
      const removal = stage.removeInBackground(life);
      await stage.expect('remove-stall', 'warning', life.uuid);
      await stage.untilRecorded();
      await stage.createRefused('mtty', life.uuid);
      await stage.expect('uuid-held-by-dying-device', 'warning', life.uuid);
      if (stage.traits.opensWhileLeaving.value) {
        await vmm.order(`device open again a.group ${life.uuid}`);
        life.opens++;
        await stage.expect('open-during-unregister', 'warning', life.uuid);
        await stage.expect('nested-open', 'info', life.uuid);
        await vmm.order('close again');
      } else {
        await stage.refused(vmm, `device open again a.group ${life.uuid}`, 'ENODEV');
        await stage.expect('open-failed', 'warning', life.uuid);
      }
      await vmm.order('close a.device');
      // 5.10 also waits for the group to be let go of.
      await vmm.order('quit');
      await removal;
    },
  },
  {
    title: 'a device is removed while it is still being created',
    async play(stage) {
      if (!stage.traits.removeRacesCreate.value) return;
      const uuid = await loseRemoveFile(stage);
      await stage.expect('remove-before-create-done', 'warning', uuid);
      await stage.expect('remove-file-lost', 'error', uuid);
      await stage.untilRecorded();
    },
  },
  {
    title: 'the drivers are unloaded, which removes what could not be removed',
    async play(stage) {
      await stage.unloadDrivers();
    },
  },
];

/** Writes to `remove` as soon as the file appears, until the write comes before the create is done. */
async function loseRemoveFile(stage: Stage): Promise<string> {
  const create = await stage.createFile('mtty');
  const parent = await stage.sh('realpath /sys/class/mdev_bus/mtty');
  for (let i = 0; i < RACE_TRIES; i++) {
    const uuid = randomUUID();
    const file = `${parent}/${uuid}/remove`;
    const tooEarly = await stage.try(
      `(until [ -e ${file} ]; do :; done; ! echo 1 > ${file}) 2>/dev/null & echo ${uuid} > ${create}; wait $!`,
    );
    stage.lives.push({ uuid, parent: 'mtty', end: 'released', opens: 0 });
    if (tooEarly) return uuid;
  }
  throw new Error(`no remove came before its create was done, in ${RACE_TRIES} tries`);
}
