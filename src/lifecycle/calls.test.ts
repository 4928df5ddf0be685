import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ScenarioRunner } from '../../test/kit/scenario-runner.ts';
import {
  applyAll,
  snapshotBegins,
  snapshotEnds,
  snapshotRecord,
} from '../../test/kit/snapshot-records.ts';
import { EventCursor } from '../events/cursor.ts';
import { encodeRecord, type RecordFields } from '../events/encoder.ts';
import { POINTS } from '../events/points.ts';
import { DEVICE_STATE, FLAG } from '../events/wire.gen.ts';
import { Calls } from './calls.ts';

const NAMES = { device: 'aaaabbbb-cccc-4ddd-8eee-ffff00001111', bus: 'mdev', parent: 'gpu0' };
const DEVICE = { dev: 1, vdev: 2, openCount: 1 };

/** Collects the duration of each transition from here on. */
function durations(runner: ScenarioRunner): number[] {
  const measured: number[] = [];
  runner.sinks.push({ event: ({ duration }) => measured.push(duration) });
  return measured;
}

describe('the duration of a call', () => {
  it('is -1 for a close whose begin was lost', () => {
    const runner = new ScenarioRunner();
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const { key } = runner.run((scenario) => scenario.open(device));
    const [open] = runner.device(device.uuid)?.opens ?? [];
    const measured = durations(runner);
    runner.raw('vfio.device.close:end', {
      dev: device.key,
      vdev: device.key,
      openCount: 0,
      file: key,
    });
    assert.deepEqual(measured, [-1]);
    assert.equal(open.state, 'closed');
  });

  it('is -1 for an open whose begin was lost', () => {
    const runner = new ScenarioRunner();
    const measured = durations(runner);
    runner.raw('vfio.device.open:end', { ...DEVICE, file: 3, names: NAMES });
    assert.deepEqual(measured, [-1]);
    assert.equal(runner.device(NAMES.device)?.opens.length, 1);
  });

  it('is -1 for a second probe whose begin was lost, and not measured from the first one', () => {
    const runner = new ScenarioRunner();
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const measured = durations(runner);
    runner.raw('mdev.probe:end', { dev: device.key });
    assert.deepEqual(measured, [-1]);
  });

  it('is -1 when events were lost between begin and end', () => {
    const runner = new ScenarioRunner();
    const measured = durations(runner);
    runner.raw('kvm.vm.create:begin');
    runner.lose();
    runner.raw('kvm.vm.create:end', { ret: 11 });
    assert.deepEqual(measured, [-1, -1]);
  });

  it('is the time from begin to end in the same thread', () => {
    const runner = new ScenarioRunner();
    const measured = durations(runner);
    runner.raw('kvm.vm.create:begin', { time: 5000, pid: 1, tid: 1 });
    runner.raw('kvm.vm.create:begin', { time: 6000, pid: 1, tid: 2 });
    runner.raw('kvm.vm.create:end', { time: 9000, pid: 1, tid: 1 });
    runner.raw('kvm.vm.create:end', { time: 9500, pid: 1, tid: 2 });
    assert.deepEqual(measured, [-1, -1, 4000, 3500]);
  });
});

describe('calls whose ends were lost', () => {
  it('leave nothing in memory after a complete host snapshot that does not find their devices', () => {
    const runner = new ScenarioRunner();
    const parent = runner.run((scenario) => scenario.parent());
    const { world } = runner;
    for (let i = 0; i < 1000; i++) {
      const device = runner.run((scenario) => scenario.create(parent));
      const names = { device: device.uuid, bus: 'mdev', parent: parent.name, driver: 'mtty' };
      runner.raw('mdev.remove:begin', { pid: 1000 + i, dev: device.key, names });
      runner.lose();
      const now = world.now + 1;
      applyAll(world, [
        snapshotBegins(now),
        snapshotRecord('snapshot.parent', now, { names: { parent: parent.name, driver: 'mtty' } }),
        snapshotEnds(now),
      ]);
    }
    assert.deepEqual(runner.leftovers(), { parents: 1, 'parents indexed': 2 });
  });

  it('stay in flight while a host snapshot shows that their device is still being removed', () => {
    const runner = new ScenarioRunner();
    const { world } = runner;
    const device = runner.run((scenario) => {
      const created = scenario.create(scenario.parent());
      scenario.open(created);
      scenario.removeBegins(created);
      return created;
    });
    runner.lose();
    const now = world.now + 1;
    const names = { device: device.uuid, bus: 'mdev', parent: 'mtty', driver: '' };
    applyAll(world, [
      snapshotBegins(now),
      snapshotRecord('snapshot.parent', now, { names: { parent: 'mtty', driver: 'mtty' } }),
      snapshotRecord('snapshot.device', now, {
        groupId: device.groupId,
        deviceState: DEVICE_STATE.LEAVING,
        names,
      }),
      snapshotEnds(now),
    ]);
    const points = [...world.calls].map(({ point }) => point);
    assert.deepEqual(points, [
      ...[POINTS['mdev.remove'], POINTS['mdev.unbind'], POINTS['vfio.unregister']],
    ]);
  });
});

describe('the calls in flight', () => {
  it('have their task, begin and device', () => {
    const runner = new ScenarioRunner();
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.run((scenario) => {
      scenario.open(device);
      scenario.removeBegins(device, { as: { pid: 700, comm: 'bash', uid: 5, cgroup: 9 } });
    });
    const { calls } = runner.world;
    const inFlight = [...calls].map(({ point, task, device }) => [point, task, device?.name]);
    const task = { pid: 700, tid: 700, comm: 'bash', uid: 5, cgroup: 9 };
    assert.deepEqual(inFlight, [
      [POINTS['mdev.remove'], task, device.uuid],
      [POINTS['mdev.unbind'], task, device.uuid],
      [POINTS['vfio.unregister'], task, device.uuid],
    ]);
    const [oldest] = calls;
    assert.equal(oldest.began, runner.device(device.uuid)?.removeBegan);
  });
});

describe('Calls', () => {
  const fields = (point: number, tid: number, time: number, isEnd = false): RecordFields => ({
    ...{ point, tid, pid: tid, time, seq: 0, comm: 'x' },
    flags: isEnd ? FLAG.EVENT_END : 0,
  });
  const event = (...args: Parameters<typeof fields>) =>
    new EventCursor(encodeRecord(fields(...args)).buffer as ArrayBuffer);

  it('ends nested calls with the call that contains them', () => {
    const calls = new Calls();
    calls.begin(event(1, 7, 10), 0);
    calls.begin(event(2, 7, 20), 0);
    calls.begin(event(2, 8, 30), 0);
    assert.equal(calls.end(event(1, 7, 40, true))?.began, 10);
    assert.equal(calls.end(event(2, 7, 50, true)), undefined);
    assert.deepEqual(
      [...calls].map(({ tid }) => tid),
      [8],
    );
  });

  it('ends the earlier of two calls of a thread at one point', () => {
    const calls = new Calls();
    calls.begin(event(1, 7, 10), 0);
    calls.begin(event(2, 7, 20), 0);
    calls.begin(event(1, 7, 30), 0);
    assert.equal(calls.size, 1);
    assert.equal(calls.end(event(1, 7, 40, true))?.began, 30);
    assert.equal(calls.size, 0);
  });

  it('sweeps a call from the middle of the stack of its thread', () => {
    const calls = new Calls();
    for (const point of [1, 2, 3]) calls.begin(event(point, 7, point), 0);
    calls.sweep(({ point }) => point === 2);
    assert.equal(calls.of(7, 2), undefined);
    assert.equal(calls.of(7, 1)?.began, 1);
    assert.equal(calls.end(event(3, 7, 9, true))?.began, 3);
    assert.equal(calls.end(event(1, 7, 9, true))?.began, 1);
    assert.equal(calls.size, 0);
  });

  it('keeps no object in memory after the end of a call', () => {
    const calls = new Calls();
    const call = calls.begin(event(1, 7, 10), 0);
    call.module = 'mtty';
    calls.end(event(1, 7, 20, true));
    calls.begin(event(2, 7, 30), 0);
    assert.equal(call.point === 2 ? undefined : call.module, undefined);
  });

  it('forgets threads without a call, and keeps the calls of the others', () => {
    const calls = new Calls();
    calls.begin(event(1, 1, 1), 0);
    calls.begin(event(2, 1, 2), 0);
    for (let tid = 2; tid < 20_000; tid++) {
      calls.begin(event(1, tid, tid), 0);
      calls.end(event(1, tid, tid, true));
    }
    assert.equal(calls.size, 2);
    assert.equal(calls.end(event(2, 1, 30_000, true))?.began, 2);
    assert.equal(calls.end(event(1, 1, 30_001, true))?.began, 1);
  });
});
