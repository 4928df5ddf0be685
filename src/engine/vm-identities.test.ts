import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Served, stalled } from '../../test/kit/served.ts';
import type { Host, VmCreator, VmIdentity } from '../events/host.ts';
import type { Vm } from '../lifecycle/objects.ts';
import { LINUX_6_12 } from '../scenario/kernels.ts';
import { VmIdentities } from './vm-identities.ts';

const QEMU = { pid: 600, comm: 'qemu' };
const WEB: VmIdentity = { commandLine: 'read', name: 'web-3' };

/** Answers are awaited by a turn of the event loop. */
const answered = () => new Promise(setImmediate);

/** A served runner in which the host knows VMs. */
function known() {
  const asked: VmCreator[] = [];
  const host: Host = {
    traits: LINUX_6_12,
    pidsWithKvmFiles: () => new Set(),
    identifyVm: async (creator) => {
      asked.push(creator);
      return WEB;
    },
  };
  const runner = new Served({ host });
  const identified: Vm[] = [];
  runner.sinks.unshift(new VmIdentities(host, (vm) => identified.push(vm)));
  return { runner, asked, identified };
}

describe('how the operator knows a VM', () => {
  it('is asked once for each VM, of its creator at the time of the event', async () => {
    const { runner, asked, identified } = known();
    const vm = runner.run((scenario) => scenario.createVm({ as: QEMU }));
    const [{ firstSeen, identity }] = runner.world.vms;
    assert.deepEqual(identity, { commandLine: 'pending' });
    await answered();
    runner.run((scenario) => scenario.open(scenario.create(scenario.parent()), { vm }));
    await answered();
    const [creator, ...others] = asked;
    assert.deepEqual(others, []);
    assert.deepEqual([creator.pid, creator.task?.comm, creator.at], [600, 'qemu', firstSeen]);
    assert.deepEqual(
      identified.map((one) => one.identity),
      [WEB],
    );
  });

  it('is asked of the thread where only that is known, and later where it is not', async () => {
    const { runner, asked } = known();
    runner.raw('kvm.get:begin', { kvm: 1, usersCount: 4, vmPid: 0 });
    await answered();
    assert.deepEqual(asked, []);
    runner.raw('kvm.get:begin', { kvm: 1, usersCount: 4, vmPid: 77 });
    await answered();
    assert.deepEqual(
      asked.map(({ pid, task }) => [pid, task]),
      [[77, undefined]],
    );
  });

  it('is asked one VM after the other, and of no more than wait', async () => {
    let [running, most, total] = [0, 0, 0];
    const identifyVm = async (): Promise<VmIdentity> => {
      total++;
      most = Math.max(most, ++running);
      await undefined;
      running--;
      return WEB;
    };
    const { runner } = known();
    runner.sinks.splice(0, 1, new VmIdentities({ identifyVm }));
    runner.run((scenario) => {
      for (let i = 0; i < 1100; i++) scenario.createVm({ as: QEMU });
    });
    await answered();
    const states = [...runner.world.vms].map(({ identity }) => identity?.commandLine);
    assert.deepEqual([most, total], [1, 1000]);
    assert.equal(states.filter((state) => state === 'no_answer').length, 100);
  });

  it('is not known when the host fails, and the next VM is asked about', async () => {
    let calls = 0;
    const identifyVm = async (): Promise<VmIdentity> => {
      if (++calls === 1) throw new Error('a fault');
      return WEB;
    };
    const { runner } = known();
    runner.sinks.splice(0, 1, new VmIdentities({ identifyVm }));
    runner.run((scenario) => [scenario.createVm({ as: QEMU }), scenario.createVm({ as: QEMU })]);
    await answered();
    assert.deepEqual(
      [...runner.world.vms].map(({ identity }) => identity?.commandLine),
      ['no_answer', 'read'],
    );
  });

  it('is not asked in a replay', async () => {
    const runner = stalled();
    assert.equal(runner.onlyVm().identity, undefined);
    const { body } = await runner.get<{ vms: object[] }>('/api/v1/vms');
    assert.ok(!('name' in body.vms[0]) && !('commandLine' in body.vms[0]));
  });
});
