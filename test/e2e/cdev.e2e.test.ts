// SPDX-License-Identifier: Apache-2.0
/** Devices that are opened by a cdev of their own and bound to iommufd, on a kernel that has both. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, describe, it } from 'node:test';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Vmm, VmmError } from '../lab/vmm.ts';
import { SUITE_MS, VM_MS } from '../until.ts';
import { AgentInVm } from './agent.ts';
import { clearAway, loadModules } from './storms.ts';

const KERNEL = process.env.VFIOSCOPE_KERNEL ?? '6.12-iommufd';
const MTTY = '/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/create';
/** Longer than rules wait for a state to settle, s. */
const SETTLING = 3;

describe(`device cdevs on ${KERNEL}`, { timeout: SUITE_MS }, () => {
  let vm: Vm;
  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: VM_MS });
    await loadModules(vm);
  });
  after(() => vm?.close());
  afterEach(() => clearAway(vm));

  async function create(): Promise<string> {
    const uuid = randomUUID();
    await vm.sh(`echo ${uuid} > ${MTTY}`);
    return uuid;
  }

  async function run(vmm: Vmm, ...commands: readonly string[]): Promise<void> {
    for (const command of commands) await vmm.command(command);
  }

  async function refused(vmm: Vmm, command: string, errno: string): Promise<void> {
    const isRight = (error: unknown) => error instanceof VmmError && error.errno === errno;
    await assert.rejects(vmm.command(command), isRight, `${command}: ${errno}`);
  }

  it('a VMM binds the cdev of a device: it is open, for the VM of that process', async () => {
    const agent = await AgentInVm.start(vm);
    const uuid = await create();
    const vmm = new Vmm(vm, 'qemu-cdev');
    await run(vmm, 'vm create v', 'kvmvfio create v k', `cdev open c ${uuid}`, 'kvmvfio add k c');
    await run(vmm, 'iommufd open i', 'iommufd ioas i');
    await agent.evaluated();
    const device = async () => (await agent.devices()).find(({ id }) => id === uuid);
    assert.equal((await device())?.openCount, 0, 'it is not open before it is bound');
    await run(vmm, 'cdev bind c i', 'cdev attach c 1');
    await agent.until('it is open', async () => (await device())?.state === 'open');
    assert.ok((await device())?.vm, 'it has a VM');
    await run(vmm, 'cdev detach c', 'close c', 'close k', 'close v', 'quit');
    await vm.sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
    await agent.until('it is gone', async () => (await device()) === undefined);
    await agent.evaluated(SETTLING);
    assert.deepEqual(await agent.violations(), []);
    assert.equal(await agent.lost(), 0);
    await agent.stop();
  });

  it('a group cannot be opened while a cdev of it is bound, nor a cdev bound while it is open', async () => {
    const uuid = await create();
    const vmm = new Vmm(vm, 'qemu-both');
    await run(vmm, `cdev open c ${uuid}`, 'iommufd open i', 'cdev bind c i');
    await refused(vmm, `group open g ${uuid}`, 'EBUSY');
    await run(vmm, 'close c', `group open g ${uuid}`, `cdev open c ${uuid}`);
    await refused(vmm, 'cdev bind c i', 'EBUSY');
    await run(vmm, 'quit');
    await vm.sh(`echo 1 > /sys/bus/mdev/devices/${uuid}/remove`);
  });

  it('the kernel reports no fault', async () => {
    assert.deepEqual(await vm.problems(), []);
  });
});
