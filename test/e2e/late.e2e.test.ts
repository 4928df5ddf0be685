// SPDX-License-Identifier: Apache-2.0
/** An agent that starts late finds the objects that exist, also during heavy load. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { SUITE_MS, VM_MS } from '../until.ts';
import { AgentInVm } from './agent.ts';
import { clearAway, heldDevices, loadModules, reportedDevices, TYPES } from './storms.ts';
import { KERNEL } from './traits.ts';

/** Longer than rules wait for a state to settle, s. */
const SETTLING = 3;

describe(`an agent that starts late on ${KERNEL}`, { timeout: SUITE_MS }, () => {
  let vm: Vm;
  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: VM_MS });
    await loadModules(vm);
  });
  after(async () => {
    await vm?.close();
  });
  afterEach(() => clearAway(vm));

  it('finds the devices, opens and VMs that exist, and raises no violation', async () => {
    const storm = new Storm(vm, {
      ...{ workers: 2, rounds: 6, types: TYPES, open: true, kvm: true, keep: 6 },
      report: '/tmp/kept',
    });
    const { vms } = await storm.holding;
    const kept = await storm.devices();
    const agent = await AgentInVm.start(vm);
    assert.deepEqual(await reportedDevices(agent), heldDevices(kept));
    const devices = await agent.devices();
    assert.ok(devices.length >= 12, 'there were devices to find');
    for (const { id, mdevType, quality } of devices) {
      assert.equal(quality, 'partial', id);
      assert.notEqual(mdevType, '', id);
    }
    assert.equal((await agent.vms()).filter(({ state }) => state === 'running').length, vms);
    assert.equal(devices.filter(({ vm }) => vm === undefined).length, 0, 'each device has a VM');
    await storm.end();
    await agent.until('all are gone', async () => (await reportedDevices(agent)).length === 0);
    await agent.until('all VMs are gone', async () => (await agent.vms()).length === 0);
    await agent.evaluated(SETTLING);
    assert.deepEqual(await agent.violations(), []);
    assert.equal(await agent.metric('vfioscope_events_lost_total'), 0);
    await agent.stop();
  });

  for (const round of [1, 2, 3]) {
    it(`misses nothing and counts nothing twice when it starts in a storm, round ${round}`, async () => {
      const storm = new Storm(vm, {
        ...{ workers: 1, rounds: 0, types: TYPES, open: true, kvm: true, vmsEvery: 3, keep: 4 },
        report: `/tmp/storm${round}`,
      });
      const agent = await AgentInVm.start(vm, '--ring-bytes', String(1 << 24));
      await storm.hold();
      const devices = await storm.devices();
      // The calls in flight during its first host snapshot are covered by the next one.
      await agent.until('it has taken another host snapshot', async () => {
        return (await agent.metric('vfioscope_snapshots_total{reason="recheck"}')) > 0;
      });
      const held = heldDevices(devices);
      await agent.until(
        `it knows ${held}`,
        async () => `${await reportedDevices(agent)}` === `${held}`,
      );
      const released = await agent.metric('vfioscope_events_total{point="mdev.release"');
      assert.ok(released > 0, 'devices were released meanwhile');

      const { creates, removes, opens, closes } = await storm.end();
      assert.deepEqual([creates, opens], [removes, closes]);
      await agent.until('all are gone', async () => (await reportedDevices(agent)).length === 0);
      await agent.until('all VMs are gone', async () => (await agent.vms()).length === 0);
      const { ended } = await agent.api<{ ended: { id: string }[] }>('/api/v1/devices');
      const ids = ended.map(({ id }) => id);
      assert.equal(new Set(ids).size, ids.length, 'no device ended twice');
      const all = await storm.devices();
      for (const id of ids) assert.ok(all.has(id), `${id} never existed`);
      await agent.evaluated(SETTLING);
      assert.deepEqual(await agent.violations(), []);
      assert.equal(await agent.metric('vfioscope_events_lost_total'), 0);
      await agent.stop();
    });
  }
});
