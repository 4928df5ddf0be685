// SPDX-License-Identifier: Apache-2.0
/** Loss is data: it is counted exactly, nobody is accused for it, and a look puts the state right. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as later } from 'node:timers/promises';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { AgentInVm } from './agent.ts';
import { clearAway, heldDevices, loadModules, seenDevices, TYPES } from './storms.ts';
import { KERNEL } from './traits.ts';

describe(`a ring that is too small on ${KERNEL}`, { timeout: 240_000 }, () => {
  let vm: Vm;
  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: 230_000 });
    await loadModules(vm);
  });
  after(async () => {
    await vm?.close();
  });
  afterEach(() => clearAway(vm));

  it('loses much, says exactly how much, accuses nobody, and knows the state again', async () => {
    const agent = await AgentInVm.start(vm, '--ring-bytes', '4096');
    assert.equal(await agent.metric('vfioscope_last_loss_timestamp_seconds'), 0);
    const storm = new Storm(vm, {
      ...{ workers: 2, rounds: 0, types: TYPES, open: true, kvm: true, vmsEvery: 3, keep: 4 },
      report: '/tmp/loss',
    });
    await agent.until('it has lost events', async () => (await agent.lost()) > 100);
    // While the reader is held up as well.
    agent.process.signal('SIGSTOP');
    await later(1000);
    agent.process.signal('SIGCONT');
    await storm.hold();
    const held = heldDevices(await storm.lives());
    await agent.until('it has looked since the last loss', async () => {
      const tainted = await agent.metric('vfioscope_state_tainted');
      return tainted === 0 && (await agent.metric('vfioscope_ring_backlog_bytes')) === 0;
    });
    assert.deepEqual(await seenDevices(agent), held);
    assert.ok((await agent.metric('vfioscope_host_looks_total{reason="loss"}')) > 0);

    const account = async () => {
      const [events, seen, lost, dropped, gaps, attempts] = await agent.metrics(
        ...['vfioscope_events_total', 'vfioscope_events_total{point="seen.'],
        ...['vfioscope_events_lost_total', 'vfioscope_ring_dropped_total'],
        ...['vfioscope_sequence_gaps_total', 'vfioscope_ring_attempts_total'],
      );
      return {
        lost,
        asTheWriterSays: dropped,
        asTheReaderSaw: gaps,
        missing: attempts - lost - events + seen,
      };
    };
    // The last of the storm may still be on its way.
    for (let tries = 0; (await account()).missing > 0 && tries < 50; tries++) await later(100);
    const { lost, asTheWriterSays, asTheReaderSaw, missing } = await account();
    assert.ok(lost > 0);
    assert.deepEqual([asTheWriterSays, asTheReaderSaw], [lost, lost]);
    assert.equal(missing, 0, 'every record that was tried is accounted for');
    const at = await agent.metric('vfioscope_last_loss_timestamp_seconds');
    const looked = await agent.metric('vfioscope_last_host_look_timestamp_seconds');
    assert.ok(at > 0 && looked > at, 'the last look came after the last loss');
    await agent.said('events.lost');
    for (const { id, quality } of await agent.devices()) assert.notEqual(quality, 'tainted', id);

    await storm.end();
    await agent.until('all are gone', async () => (await seenDevices(agent)).length === 0);
    await agent.until('all VMs are gone', async () => (await agent.vms()).length === 0);
    assert.deepEqual(await agent.accusations(), [], 'no loss is taken for a fault');
    const told = (await agent.violations()).filter((text) => text.startsWith('observer-gap '));
    assert.ok(told.length > 0, 'and is told itself');
    await agent.stop();
  });
});
