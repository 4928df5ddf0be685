// SPDX-License-Identifier: Apache-2.0
/** An agent that comes late finds what there is, also while everything moves. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { AgentInVm } from './agent.ts';
import { clearAway, heldDevices, loadModules, seenDevices, TYPES } from './storms.ts';
import { KERNEL } from './traits.ts';

describe(`an agent that starts late on ${KERNEL}`, { timeout: 280_000 }, () => {
  let vm: Vm;
  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: 270_000 });
    await loadModules(vm);
  });
  after(async () => {
    await vm?.close();
  });
  afterEach(() => clearAway(vm));

  it('knows devices, opens and VMs that were there, and blames nobody', async () => {
    const storm = new Storm(vm, {
      ...{ workers: 2, rounds: 6, types: TYPES, open: true, kvm: true, keep: 6 },
      report: '/tmp/kept',
    });
    const { vms } = await storm.holding;
    const lives = await storm.lives();
    const agent = await AgentInVm.start(vm);
    assert.deepEqual(await seenDevices(agent), heldDevices(lives));
    const looked = await agent.said('host.looked');
    // Under emulation, on a busy machine; docs/performance.md has the figure.
    assert.ok((looked.duration as number) < 5e9, `the look took ${looked.duration} ns`);
    const devices = await agent.devices();
    assert.ok(devices.length >= 12, 'there was something to see');
    for (const { id, type, quality } of devices) {
      assert.equal(quality, 'late', id);
      assert.notEqual(type, '', id);
    }
    assert.equal((await agent.vms()).filter(({ state }) => state === 'running').length, vms);
    assert.equal(devices.filter(({ vm }) => vm === undefined).length, 0, 'each device has a VM');
    await storm.end();
    await agent.until('all are gone', async () => (await seenDevices(agent)).length === 0);
    await agent.until('all VMs are gone', async () => (await agent.vms()).length === 0);
    assert.deepEqual(await agent.violations(), []);
    assert.equal(await agent.metric('vfioscope_events_lost_total'), 0);
    await agent.stop();
  });

  for (const round of [1, 2, 3]) {
    it(`misses nothing and sees nothing twice when it starts in a storm, time ${round}`, async () => {
      const storm = new Storm(vm, {
        ...{ workers: 1, rounds: 0, types: TYPES, open: true, kvm: true, vmsEvery: 3, keep: 4 },
        report: `/tmp/storm${round}`,
      });
      const agent = await AgentInVm.start(vm, '--ring-bytes', String(1 << 24));
      await storm.hold();
      const lives = await storm.lives();
      await agent.until(
        'it has taken in all',
        async () => (await agent.metric('vfioscope_ring_backlog_bytes')) === 0,
      );
      assert.deepEqual(await seenDevices(agent), heldDevices(lives));
      const released = await agent.metric('vfioscope_events_total{point="mdev.release"');
      assert.ok(released > 0, 'much happened meanwhile');

      const { creates, removes, opens, closes } = await storm.end();
      assert.deepEqual([creates, opens], [removes, closes]);
      await agent.until('all are gone', async () => (await seenDevices(agent)).length === 0);
      await agent.until('all VMs are gone', async () => (await agent.vms()).length === 0);
      const { ended } = await agent.api<{ ended: { id: string }[] }>('/api/v1/devices');
      const ids = ended.map(({ id }) => id);
      assert.equal(new Set(ids).size, ids.length, 'no device ended twice');
      const all = await storm.lives();
      for (const id of ids) assert.ok(all.has(id), `${id} never was`);
      assert.deepEqual(await agent.violations(), []);
      assert.equal(await agent.metric('vfioscope_events_lost_total'), 0);
      await agent.stop();
    });
  }
});
