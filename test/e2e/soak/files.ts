// SPDX-License-Identifier: Apache-2.0
/** Correct uses of descriptors by VMMs: sharing them, passing them on, letting them outlive each other. */
import type { Vmm } from '../../lab/vmm.ts';
import { type LoadResult, nested, withoutKvm } from './expected.ts';
import type { SoakSession } from './session.ts';

/** Longer than a leaked VM takes to be reported, ms. */
const LONG = 7000;

/** All of them at the same time. */
export async function shareFiles(session: SoakSession): Promise<LoadResult> {
  const done = await Promise.all(
    [
      ...[openTwice, openWithoutVm, inherit, duplicate, passDevice, passGroup],
      ...[vcpuOutlivesVm, childOutlivesVm, statisticsOutliveVm],
    ].map((use) => use(session)),
  );
  return { expected: done.flatMap(({ expected }) => expected) };
}

async function sendAll(vmm: Vmm, ...commands: readonly string[]): Promise<void> {
  for (const command of commands) await vmm.command(command);
}

/** Closes what remains open of `start a` after its device was closed. */
const CLOSE_REST = [
  ...['kvmvfio del a.kvmvfio a.group', 'close a.kvmvfio', 'group detach a.group'],
  ...['close a.group', 'close a.container', 'close a.vcpu', 'close a.vm'],
];

async function openTwice(session: SoakSession): Promise<LoadResult> {
  const device = await session.create();
  const vmm = session.vmm('qemu-nested');
  await sendAll(vmm, `start a ${device}`, `device open again a.group ${device}`);
  await sendAll(vmm, 'close a.device', 'close again', ...CLOSE_REST, 'quit');
  await session.remove(device);
  return { expected: [nested(device)] };
}

export async function openWithoutVm(session: SoakSession): Promise<LoadResult> {
  const device = await session.create();
  await useWithoutVm(session, device);
  await session.remove(device);
  return { expected: [withoutKvm(device)] };
}

export async function useWithoutVm(session: SoakSession, device: string): Promise<void> {
  const vmm = session.vmm('dpdk');
  await sendAll(vmm, 'container open c', `group open g ${device}`, 'group attach g c');
  await sendAll(vmm, 'container iommu c', `device open d g ${device}`);
  await sendAll(vmm, 'close d', 'group detach g', 'close g', 'close c', 'quit');
}

/** A child inherits all descriptors of its parent, and is the last to close the device. */
async function inherit(session: SoakSession): Promise<LoadResult> {
  const device = await session.create();
  const vmm = session.vmm('qemu-forks');
  await sendAll(vmm, `start a ${device}`, 'fork start child', 'close a.device');
  await sendAll(vmm, 'sleep 1000', 'fork end child', ...CLOSE_REST, 'quit');
  await session.remove(device);
  return { expected: [] };
}

async function duplicate(session: SoakSession): Promise<LoadResult> {
  const device = await session.create();
  const vmm = session.vmm('qemu-dup');
  await sendAll(vmm, `start a ${device}`, 'dup a.device copy', 'dup a.vm vm', 'close a.device');
  await sendAll(vmm, 'sleep 1000', 'close copy', ...CLOSE_REST, 'close vm', 'quit');
  await session.remove(device);
  return { expected: [] };
}

/** For a while no process has the device open, only a message has; then another process than the opener. */
async function passDevice(session: SoakSession): Promise<LoadResult> {
  const device = await session.create();
  const [giver, taker] = [session.vmm('giver'), session.vmm('taker')];
  await sendAll(taker, 'inbox open devices');
  await sendAll(giver, `start a ${device}`, 'send a.device devices', 'close a.device');
  await sendAll(giver, 'sleep 2500');
  await sendAll(taker, 'receive devices d', 'sleep 1000', 'close d', 'quit');
  await sendAll(giver, ...CLOSE_REST, 'quit');
  await session.remove(device);
  return { expected: [] };
}

/** A privileged helper opens group and container for an unprivileged VMM, and exits. */
async function passGroup(session: SoakSession): Promise<LoadResult> {
  const device = await session.create();
  const [helper, vmm] = [session.vmm('helper'), session.vmm('qemu-lowly')];
  await sendAll(vmm, 'inbox open groups', 'vm create a.vm', 'vcpu create a.vm a.vcpu 0');
  await sendAll(helper, 'container open c', `group open g ${device}`);
  await sendAll(helper, 'send c groups', 'send g groups', 'quit');
  await sendAll(vmm, 'receive groups a.container', 'receive groups a.group');
  await sendAll(vmm, 'group attach a.group a.container', 'container iommu a.container');
  await sendAll(vmm, 'kvmvfio create a.vm a.kvmvfio', 'kvmvfio add a.kvmvfio a.group');
  await sendAll(vmm, `device open a.device a.group ${device}`, 'stop a', 'quit');
  await session.remove(device);
  return { expected: [] };
}

async function vcpuOutlivesVm(session: SoakSession): Promise<LoadResult> {
  const vmm = session.vmm('qemu-vcpu');
  await sendAll(vmm, 'vm create v', 'vcpu create v c 0', 'close v');
  await sendAll(vmm, `sleep ${LONG}`, 'close c', 'quit');
  return { expected: [] };
}

async function childOutlivesVm(session: SoakSession): Promise<LoadResult> {
  const vmm = session.vmm('qemu-child');
  await sendAll(vmm, 'vm create v', 'vcpu create v c 0', 'fork start child', 'close v', 'close c');
  await sendAll(vmm, `sleep ${LONG}`, 'fork end child', 'quit');
  return { expected: [] };
}

/** A process reads the statistics of a VM whose VMM has exited. */
async function statisticsOutliveVm(session: SoakSession): Promise<LoadResult> {
  const vmm = session.vmm('qemu-watched');
  const pid = await vmm.command('pid');
  const fd = await vmm.command('vm create v');
  const file = `$(ls -d /sys/kernel/debug/kvm/${pid}-${fd}/* | head -n 1)`;
  const reading = session.sh(`exec 3< ${file}; echo open > /tmp/reading; sleep ${LONG / 1000}`);
  await session.sh('until [ -e /tmp/reading ]; do sleep 0.1; done; rm /tmp/reading');
  await sendAll(vmm, 'quit');
  await reading;
  return { expected: [] };
}
