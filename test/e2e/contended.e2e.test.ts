// SPDX-License-Identifier: Apache-2.0
/**
 * Many tasks in the same functions at the same time, on kernels that preempt: what fentry
 * programs lose in silence (9 to 18 % of it) must all arrive.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { AgentInVm } from './agent.ts';
import { loadModules, TYPES } from './storms.ts';
import { KERNEL } from './traits.ts';

/** Where the kernel can be told; 7.2 preempts by default (lazy), older ones cannot. */
const PREEMPT = KERNEL === '6.12' ? 'full' : undefined;
const ROUNDS = 3000;
const WORKERS = 4;

describe(`contended load on ${KERNEL}, preempt ${PREEMPT ?? 'as it is'}`, {
  timeout: 240_000,
}, () => {
  let vm: Vm;
  let agent: AgentInVm;
  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: 230_000, preempt: PREEMPT });
    await loadModules(vm);
    agent = await AgentInVm.start(vm, '--ring-bytes', String(1 << 26));
  });
  after(async () => {
    await vm?.close();
  });

  const count = (point: string, phase: string) =>
    agent.metric(`vfioscope_events_total{point="${point}",phase="${phase}"}`);

  const settled = () =>
    agent.until(
      'all is taken in',
      async () => (await agent.metric('vfioscope_ring_backlog_bytes')) === 0,
    );

  const nothingLost = async () => {
    assert.equal(await agent.metric('vfioscope_events_lost_total'), 0);
    assert.equal(await agent.metric('vfioscope_probe_missed_total'), 0);
    assert.equal(await agent.metric('vfioscope_ring_dropped_total'), 0);
  };

  it('sees every reference that is put', async () => {
    const storm = new Storm(vm, {
      workers: WORKERS,
      rounds: ROUNDS,
      loop: 'kvm',
      vmsEvery: ROUNDS,
    });
    const { puts, vms } = await storm.done;
    await settled();
    assert.ok(puts >= WORKERS * ROUNDS, `${puts} puts`);
    assert.equal(await count('kvm.put', 'begin'), puts);
    assert.equal(await count('kvm.vm.destroy', 'end'), vms);
    await nothingLost();
  });

  it('sees every life that four processes make and end at once', async () => {
    const storm = new Storm(vm, {
      ...{ workers: WORKERS, rounds: 25, types: TYPES, open: true, kvm: true, vmsEvery: 5 },
    });
    const { creates, removes, opens, closes } = await storm.done;
    await settled();
    assert.equal(await count('mdev.create', 'end'), creates);
    assert.equal(await count('mdev.remove', 'end'), removes);
    assert.equal(await count('mdev.release', 'end'), removes);
    assert.equal(await count('vfio.device.open', 'end'), opens);
    assert.equal(await count('vfio.device.close', 'end'), closes);
    assert.deepEqual(await agent.devices(), []);
    assert.deepEqual(await agent.vms(), []);
    assert.deepEqual(await agent.violations(), []);
    await nothingLost();
  });
});
