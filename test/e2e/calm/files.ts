// SPDX-License-Identifier: Apache-2.0
/** Legal things that VMMs do with descriptors: share them, hand them on, let them outlive each other. */
import type { Vmm } from '../../lab/vmm.ts';
import { type Done, nested, withoutKvm } from './expected.ts';
import type { Ground } from './ground.ts';

/** Longer than it takes to call a VM leaked. */
const LONG = 7000;

/** All of them at the same time. */
export async function shareFiles(ground: Ground): Promise<Done> {
  const done = await Promise.all(
    [
      ...[openTwice, openWithoutVm, inherit, duplicate, passDevice, passGroup],
      ...[vcpuOutlivesVm, childOutlivesVm, statisticsOutliveVm],
    ].map((act) => act(ground)),
  );
  return { expected: done.flatMap(({ expected }) => expected) };
}

async function obey(vmm: Vmm, ...orders: readonly string[]): Promise<void> {
  for (const order of orders) await vmm.order(order);
}

/** What remains to be closed once the device of `start a` is. */
const CLOSE_REST = [
  ...['kvmvfio del a.kvmvfio a.group', 'close a.kvmvfio', 'group detach a.group'],
  ...['close a.group', 'close a.container', 'close a.vcpu', 'close a.vm'],
];

async function openTwice(ground: Ground): Promise<Done> {
  const device = await ground.create();
  const vmm = ground.vmm('qemu-nested');
  await obey(vmm, `start a ${device}`, `device open again a.group ${device}`);
  await obey(vmm, 'close a.device', 'close again', ...CLOSE_REST, 'quit');
  await ground.remove(device);
  return { expected: [nested(device)] };
}

export async function openWithoutVm(ground: Ground): Promise<Done> {
  const device = await ground.create();
  await useWithoutVm(ground, device);
  await ground.remove(device);
  return { expected: [withoutKvm(device)] };
}

export async function useWithoutVm(ground: Ground, device: string): Promise<void> {
  const vmm = ground.vmm('dpdk');
  await obey(vmm, 'container open c', `group open g ${device}`, 'group attach g c');
  await obey(vmm, 'container iommu c', `device open d g ${device}`);
  await obey(vmm, 'close d', 'group detach g', 'close g', 'close c', 'quit');
}

/** A child has all that its parent closes, and is the last to close the device. */
async function inherit(ground: Ground): Promise<Done> {
  const device = await ground.create();
  const vmm = ground.vmm('qemu-forks');
  await obey(vmm, `start a ${device}`, 'fork start child', 'close a.device');
  await obey(vmm, 'sleep 1000', 'fork end child', ...CLOSE_REST, 'quit');
  await ground.remove(device);
  return { expected: [] };
}

async function duplicate(ground: Ground): Promise<Done> {
  const device = await ground.create();
  const vmm = ground.vmm('qemu-dup');
  await obey(vmm, `start a ${device}`, 'dup a.device copy', 'dup a.vm vm', 'close a.device');
  await obey(vmm, 'sleep 1000', 'close copy', ...CLOSE_REST, 'close vm', 'quit');
  await ground.remove(device);
  return { expected: [] };
}

/** For a while the device is in no process, then in another than the one that opened it. */
async function passDevice(ground: Ground): Promise<Done> {
  const device = await ground.create();
  const [giver, taker] = [ground.vmm('giver'), ground.vmm('taker')];
  await obey(taker, 'inbox open devices');
  await obey(giver, `start a ${device}`, 'send a.device devices', 'close a.device');
  await obey(giver, 'sleep 2500');
  await obey(taker, 'receive devices d', 'sleep 1000', 'close d', 'quit');
  await obey(giver, ...CLOSE_REST, 'quit');
  await ground.remove(device);
  return { expected: [] };
}

/** A helper with rights opens group and container for a VMM that has none, and ends. */
async function passGroup(ground: Ground): Promise<Done> {
  const device = await ground.create();
  const [helper, vmm] = [ground.vmm('helper'), ground.vmm('qemu-lowly')];
  await obey(vmm, 'inbox open groups', 'vm create a.vm', 'vcpu create a.vm a.vcpu 0');
  await obey(helper, 'container open c', `group open g ${device}`);
  await obey(helper, 'send c groups', 'send g groups', 'quit');
  await obey(vmm, 'receive groups a.container', 'receive groups a.group');
  await obey(vmm, 'group attach a.group a.container', 'container iommu a.container');
  await obey(vmm, 'kvmvfio create a.vm a.kvmvfio', 'kvmvfio add a.kvmvfio a.group');
  await obey(vmm, `device open a.device a.group ${device}`, 'stop a', 'quit');
  await ground.remove(device);
  return { expected: [] };
}

async function vcpuOutlivesVm(ground: Ground): Promise<Done> {
  const vmm = ground.vmm('qemu-vcpu');
  await obey(vmm, 'vm create v', 'vcpu create v c 0', 'close v');
  await obey(vmm, `sleep ${LONG}`, 'close c', 'quit');
  return { expected: [] };
}

async function childOutlivesVm(ground: Ground): Promise<Done> {
  const vmm = ground.vmm('qemu-child');
  await obey(vmm, 'vm create v', 'vcpu create v c 0', 'fork start child', 'close v', 'close c');
  await obey(vmm, `sleep ${LONG}`, 'fork end child', 'quit');
  return { expected: [] };
}

/** Somebody reads the statistics of a VM whose VMM has ended. */
async function statisticsOutliveVm(ground: Ground): Promise<Done> {
  const vmm = ground.vmm('qemu-watched');
  const pid = await vmm.order('pid');
  const fd = await vmm.order('vm create v');
  const file = `$(ls -d /sys/kernel/debug/kvm/${pid}-${fd}/* | head -n 1)`;
  const reading = ground.sh(`exec 3< ${file}; echo open > /tmp/reading; sleep ${LONG / 1000}`);
  await ground.sh('until [ -e /tmp/reading ]; do sleep 0.1; done; rm /tmp/reading');
  await obey(vmm, 'quit');
  await reading;
  return { expected: [] };
}
