import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Json, Served, stalled, UUID } from './served.ts';

describe('/api/v1/devices', () => {
  it('tells of each device its state, users and times', async () => {
    const { body } = await stalled().get<{ devices: Json[]; ended: Json[] }>('/api/v1/devices');
    assert.equal(body.ended.length, 0);
    const [device, ...others] = body.devices;
    assert.equal(others.length, 0);
    const { id, bus, type, parent, driver, state, waitingForUsers, quality, openCount } = device;
    assert.deepEqual(
      { id, bus, type, parent, driver, state, waitingForUsers, quality, openCount },
      {
        ...{ id: UUID, bus: 'mdev', type: 'gpu0-1', parent: 'gpu0', driver: 'nv' },
        ...{ state: 'removing', waitingForUsers: true, quality: 'observed', openCount: 1 },
      },
    );
    const [open] = device.openedBy as Json[];
    assert.deepEqual(
      [open.process, open.fd, open.state],
      [{ pid: 600, tid: 600, comm: 'qemu' }, 20, 'open'],
    );
    assert.deepEqual(
      [open.vm, device.removedBy],
      [device.vm, { pid: 700, tid: 700, comm: 'bash' }],
    );
    assert.deepEqual(device.created, { ns: 1_000_000_080_000, at: '2025-11-13T02:30:00.000Z' });
  });

  it('tells of one device, alive and ended, with everything that happened to it', async () => {
    const telling = new Served();
    telling.tell((story) => {
      const parent = story.parent();
      for (let i = 0; i < 3; i++) story.remove(story.create(parent, { uuid: UUID }));
      story.create(parent, { uuid: UUID });
    });
    const { body } = await telling.get<{ device: Json; ended: Json[] }>(`/api/v1/devices/${UUID}`);
    assert.deepEqual(
      [body.device.state, body.ended.map(({ state }) => state)],
      ['bound', Array(3).fill('released')],
    );
    const lives = [body.device, ...body.ended].map(({ life }) => Number(life));
    assert.deepEqual(
      lives,
      lives.toSorted((a, b) => b - a),
      'the latest first',
    );
    const { omitted, events } = body.device.timeline as { omitted: number; events: Json[] };
    assert.equal(omitted, 0);
    const { point, phase, process, text } = events[0];
    assert.deepEqual(
      [point, phase, process, text],
      ['mdev.create', 'begin', { pid: 500, tid: 500, comm: 'mdevctl' }, 'mdev.create begin'],
    );
    assert.deepEqual([events.at(-1)?.phase, events.at(-1)?.result], ['end', 0]);
  });

  it('finds a device by its UUID in capitals', async () => {
    const { status, body } = await stalled().get<{ device: Json }>(
      `/api/v1/devices/${UUID.toUpperCase()}`,
    );
    assert.deepEqual([status, body.device.id], [200, UUID]);
  });

  it('finds a device whose own name has capitals', async () => {
    const telling = new Served();
    telling.tell((story) => story.bindPci('AMDI8001:00'));
    const { status, body } = await telling.get<{ device: Json }>('/api/v1/devices/AMDI8001:00');
    assert.deepEqual([status, body.device?.id], [200, 'AMDI8001:00']);
  });

  it('says of an unknown device how far it looked', async () => {
    const { status, body } = await new Served().get('/api/v1/devices/No-Such');
    assert.equal(status, 404);
    assert.deepEqual(body, { error: 'no device No-Such is alive or among the last 5 ended' });
  });
});

describe('/api/v1/vms and /api/v1/parents', () => {
  it('tell who made a VM, who holds it, and what a parent has', async () => {
    const telling = stalled();
    const { body } = await telling.get<{ vms: Json[]; ended: Json[] }>('/api/v1/vms');
    const [{ state, madeBy, usersCount, devices, quality }] = body.vms;
    assert.deepEqual(
      { state, madeBy, usersCount, devices, quality },
      {
        state: 'running',
        madeBy: { pid: 600, tid: 600, comm: 'qemu' },
        usersCount: 2,
        devices: [UUID],
        quality: 'observed',
      },
    );
    const parents = await telling.get<{ parents: Json[] }>('/api/v1/parents');
    const [{ name, driver, devices: count, state: parentState }] = parents.body.parents;
    assert.deepEqual([name, driver, count, parentState], ['gpu0', 'nv', 1, 'registered']);
  });
});

describe('/api/v1/violations', () => {
  it('tells everything that a report needs', async () => {
    const { body } = await stalled().get<{ violations: Json[] }>('/api/v1/violations');
    const [violation, ...others] = body.violations;
    assert.equal(others.length, 0);
    const { rule, severity, state, quality, device, parent, type, process, vm, count } = violation;
    assert.deepEqual(
      { rule, severity, state, quality, device, parent, type, process, count },
      {
        ...{ rule: 'remove-stall', severity: 'warning', state: 'open', quality: 'observed' },
        ...{ device: UUID, parent: 'gpu0', type: 'gpu0-1', count: 1 },
        process: { pid: 700, tid: 700, comm: 'bash' },
      },
    );
    assert.deepEqual(vm, { id: (vm as Json).id, pid: 600, comm: 'qemu' });
    assert.match(String(violation.explanation), /waiting for 10 s.*held open by qemu \(pid 600\)/);
    const evidence = violation.evidence as Json[];
    assert.ok(evidence.length > 10);
    assert.equal(evidence.at(-1)?.point, 'vfio.unregister');
    assert.ok(evidence.every(({ at }) => /^2025-11-13T/.test(String(at))));
  });
});
