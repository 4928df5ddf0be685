// SPDX-License-Identifier: Apache-2.0
/** Lost events are counted exactly, cause no false violation, and a host snapshot resynchronises the state. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as later } from 'node:timers/promises';
import { bootLab, type Vm } from '../lab/lab.ts';
import { Storm } from '../lab/storm.ts';
import { SUITE_MS, VM_MS } from '../until.ts';
import { AgentInVm } from './agent.ts';
import { clearAway, heldDevices, loadModules, reportedDevices, TYPES } from './storms.ts';
import { KERNEL } from './traits.ts';

describe(`a ring that is too small on ${KERNEL}`, { timeout: SUITE_MS }, () => {
  let vm: Vm;
  before(async () => {
    vm = await bootLab({ kernel: KERNEL, timeoutMs: VM_MS });
    await loadModules(vm);
  });
  after(async () => {
    await vm?.close();
  });
  afterEach(() => clearAway(vm));

  it('counts lost events exactly, raises no false violation, and resynchronises the state', async () => {
    const agent = await AgentInVm.start(vm, '--ring-bytes', '4096');
    assert.equal(await agent.metric('vfioscope_last_loss_timestamp_seconds'), 0);
    const storm = new Storm(vm, {
      ...{ workers: 2, rounds: 0, types: TYPES, open: true, kvm: true, vmsEvery: 3, keep: 4 },
      report: '/tmp/loss',
    });
    await agent.until('it has lost events', async () => (await agent.lost()) > 100);
    // The reader is paused as well.
    agent.process.signal('SIGSTOP');
    await later(1000);
    agent.process.signal('SIGCONT');
    await storm.hold();
    const held = heldDevices(await storm.devices());
    await agent.until('it has taken a host snapshot since the last loss', async () => {
      const unverified = await agent.metric('vfioscope_state_unverified');
      return unverified === 0 && (await agent.metric('vfioscope_ring_backlog_bytes')) === 0;
    });
    // The calls in flight during that host snapshot are covered by the next one.
    await agent.until('it reports the held devices', async () => {
      return `${await reportedDevices(agent)}` === `${held}`;
    });
    assert.ok((await agent.metric('vfioscope_snapshots_total{reason="loss"}')) > 0);

    const account = async () => {
      const [events, snapshots, lost, dropped, gaps, attempts] = await agent.metrics(
        ...['vfioscope_events_total', 'vfioscope_events_total{point="snapshot.'],
        ...['vfioscope_events_lost_total', 'vfioscope_ring_dropped_total'],
        ...['vfioscope_sequence_gaps_total', 'vfioscope_ring_attempts_total'],
      );
      return {
        lost,
        dropped,
        gaps,
        missing: attempts - lost - events + snapshots,
      };
    };
    // By then the last records of the storm are read, and the last lost ones counted.
    await agent.evaluated();
    const { lost, dropped, gaps, missing } = await account();
    assert.ok(lost > 0);
    assert.deepEqual([dropped, gaps], [lost, lost], 'writer and reader count the same loss');
    assert.equal(missing, 0, 'every attempted record was read or counted as lost');
    const at = await agent.metric('vfioscope_last_loss_timestamp_seconds{reason="ring_full"}');
    const snapshotDone = await agent.metric('vfioscope_last_snapshot_timestamp_seconds');
    assert.ok(at > 0 && snapshotDone > at, 'the last host snapshot is newer than the last loss');
    await agent.logged('events.lost');
    for (const { id, quality } of await agent.devices()) assert.notEqual(quality, 'unverified', id);

    await storm.end();
    await agent.until('all are gone', async () => (await reportedDevices(agent)).length === 0);
    await agent.until('all VMs are gone', async () => (await agent.vms()).length === 0);
    assert.deepEqual(await agent.hostViolations(), [], 'lost events cause no false violation');
    const gapViolations = (await agent.violations()).filter((text) =>
      text.startsWith('observer-gap '),
    );
    assert.ok(gapViolations.length > 0, 'the loss itself is reported');
    await agent.stop();
  });
});
