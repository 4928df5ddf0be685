// SPDX-License-Identifier: Apache-2.0
/** Correct uses of descriptors by VMMs: sharing them, passing them on, letting them outlive each other. */
import type { Vmm } from '../../lab/vmm.ts';
import { type LoadResult, nested, withoutKvm } from './expected.ts';
import type { SoakSession } from './session.ts';

/** Longer than a leaked VM takes to be reported, ms. */
const LONG = 7000;

/** All of them at the same time. */
export async function shareFiles(session: SoakSession): Promise<LoadResult> {
  const ofPath = session.byCdev ? [openTwoCdevs, passCdev] : [openTwice, passGroup];
  const done = await Promise.all(
    [
      ...[openWithoutVm, inherit, duplicate, passDevice, ...ofPath],
      ...[vcpuOutlivesVm, childOutlivesVm, statisticsOutliveVm],
    ].map((use) => use(session)),
  );
  return { expected: done.flatMap(({ expected }) => expected) };
}

async function sendAll(vmm: Vmm, ...commands: readonly string[]): Promise<void> {
  for (const command of commands) await vmm.command(command);
}

async function openTwice(session: SoakSession): Promise<LoadResult> {
  const device = await session.create();
  const vmm = session.vmm('qemu-nested');
  await sendAll(vmm, session.path.start('a', device), `device open again a.group ${device}`);
  await sendAll(vmm, 'close a.device', 'close again', ...session.path.closeRest, 'quit');
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
  await sendAll(vmm, ...session.path.useWithoutVm(device), 'quit');
}

/** A child inherits all descriptors of its parent, and is the last to close the device. */
async function inherit(session: SoakSession): Promise<LoadResult> {
  const device = await session.create();
  const vmm = session.vmm('qemu-forks');
  await sendAll(vmm, session.path.start('a', device), 'fork start child', 'close a.device');
  await sendAll(vmm, 'sleep 1000', 'fork end child', ...session.path.closeRest, 'quit');
  await session.remove(device);
  return { expected: [] };
}

async function duplicate(session: SoakSession): Promise<LoadResult> {
  const device = await session.create();
  const vmm = session.vmm('qemu-dup');
  await sendAll(
    vmm,
    session.path.start('a', device),
    'dup a.device copy',
    'dup a.vm vm',
    'close a.device',
  );
  await sendAll(vmm, 'sleep 1000', 'close copy', ...session.path.closeRest, 'close vm', 'quit');
  await session.remove(device);
  return { expected: [] };
}

/** For a while no process has the device open, only a message has; then another process than the opener. */
async function passDevice(session: SoakSession): Promise<LoadResult> {
  const device = await session.create();
  const [giver, taker] = [session.vmm('giver'), session.vmm('taker')];
  await sendAll(taker, 'inbox open devices');
  await sendAll(giver, session.path.start('a', device), 'send a.device devices', 'close a.device');
  await sendAll(giver, 'sleep 2500');
  await sendAll(taker, 'receive devices d', 'sleep 1000', 'close d', 'quit');
  await sendAll(giver, ...session.path.closeRest, 'quit');
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

/** A launcher opens the cdev of a device that another process has bound already, and closes it. */
async function openTwoCdevs(session: SoakSession): Promise<LoadResult> {
  const device = await session.create();
  const [vmm, launcher] = [session.vmm('qemu-bound'), session.vmm('launcher')];
  await sendAll(vmm, session.path.start('a', device));
  await sendAll(launcher, `cdev open c ${device}`, 'sleep 1000', 'close c', 'quit');
  await sendAll(vmm, session.path.stop('a'), 'quit');
  await session.remove(device);
  return { expected: [] };
}

/** A privileged helper opens cdev and iommufd context for an unprivileged VMM, and exits. */
async function passCdev(session: SoakSession): Promise<LoadResult> {
  const device = await session.create();
  const [helper, vmm] = [session.vmm('helper'), session.vmm('qemu-lowly')];
  await sendAll(vmm, 'inbox open cdevs', 'vm create a.vm', 'vcpu create a.vm a.vcpu 0');
  await sendAll(helper, 'iommufd open i', 'iommufd ioas i', `cdev open c ${device}`);
  await sendAll(helper, 'send i cdevs', 'send c cdevs', 'quit');
  await sendAll(vmm, 'receive cdevs a.iommufd', 'receive cdevs a.device');
  await sendAll(vmm, 'kvmvfio create a.vm a.kvmvfio', 'kvmvfio add a.kvmvfio a.device');
  await sendAll(vmm, 'cdev bind a.device a.iommufd', 'cdev attach a.device 1');
  await sendAll(vmm, session.path.stop('a'), 'quit');
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
