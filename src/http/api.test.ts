import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Json, Served, stalled, UUID } from './served.ts';

const QEMU = { pid: 600, tid: 600, comm: 'qemu', uid: 0 };
const BASH = { pid: 700, tid: 700, comm: 'bash', uid: 0 };

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
    assert.deepEqual([open.process, open.fd, open.state], [QEMU, 20, 'open']);
    assert.deepEqual([open.vm, device.removedBy], [device.vm, BASH]);
    assert.deepEqual(device.createdBy, { pid: 500, tid: 500, comm: 'mdevctl', uid: 0 });
    const { ns, at } = device.created as { ns: number; at: string };
    assert.ok(ns > 1000e9 && ns < 1000.001e9);
    assert.equal(at, '2025-11-13T02:30:00.000Z');
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

  it('names the trace of a device, of its violation and of its VM', async () => {
    const telling = stalled();
    const { body } = await telling.get<{ device: Json }>(`/api/v1/devices/${UUID}`);
    const { body: list } = await telling.get<{ violations: Json[] }>('/api/v1/violations');
    const { body: machines } = await telling.get<{ vms: Json[] }>('/api/v1/vms');
    assert.match(String(body.device.trace), /^[0-9a-f]{32}$/);
    assert.equal(list.violations[0].trace, body.device.trace);
    assert.match(String(machines.vms[0].trace), /^[0-9a-f]{32}$/);
    assert.notEqual(machines.vms[0].trace, body.device.trace);
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
    const [{ state, madeBy, usersCount, devices, quality, holders }] = body.vms;
    assert.deepEqual(
      { state, madeBy, usersCount, devices, quality },
      {
        state: 'running',
        madeBy: QEMU,
        usersCount: 2,
        devices: [UUID],
        quality: 'observed',
      },
    );
    assert.deepEqual(
      (holders as Json[]).map(({ process, holds, how, fd }) => [process, holds, how, fd]),
      [
        [QEMU, 'device', 'opened', 20],
        [QEMU, 'vm', 'opened', 11],
      ],
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
        process: BASH,
      },
    );
    assert.deepEqual(vm, { id: (vm as Json).id, pid: 600, comm: 'qemu' });
    assert.match(String(violation.explanation), /waiting for 11 s.*held open by qemu \(pid 600\)/);
    const evidence = violation.evidence as Json[];
    assert.ok(evidence.length > 10);
    assert.equal(evidence.at(-1)?.point, 'vfio.unregister');
    assert.ok(evidence.every(({ at }) => /^2025-11-13T/.test(String(at))));
  });

  it('names who holds what, who waits, who made the device and who removes it', async () => {
    const group = { path: '/machine.slice/a.scope', unit: 'a.scope', container: 'c0ffee' };
    const inKernel = { state: 'D (disk sleep)', wchan: 'wait', stack: ['wait+0x1/0x2 [vfio]'] };
    const telling = stalled({
      ...{ kernel: [6, 12], pidsWithKvmFiles: () => undefined },
      controlGroup: () => group,
      blockedTask: () => inKernel,
      hasDeviceFile: () => true,
    });
    const { body } = await telling.get<{ violations: Json[] }>('/api/v1/violations');
    const [{ holders, blocked, creator, remover, vm }] = body.violations;
    const at = { cgroup: group.path, unit: 'a.scope', container: 'c0ffee' };
    const [{ since, ...holder }, ...others] = holders as Json[];
    assert.equal(others.length, 0);
    assert.deepEqual(holder, {
      ...{ process: { ...QEMU, ...at }, holds: 'device', how: 'holds', device: UUID, fd: 20 },
      vm: (vm as Json).id,
    });
    assert.match(String((since as Json).at), /^2025-11-13T/);
    assert.deepEqual(blocked, { ...BASH, ...at, ...inKernel });
    assert.deepEqual(remover, { ...BASH, ...at });
    assert.deepEqual(creator, { pid: 500, tid: 500, comm: 'mdevctl', uid: 0, ...at });
    const device = await telling.get<{ device: Json }>(`/api/v1/devices/${UUID}`);
    assert.deepEqual(
      [device.body.device.createdBy, device.body.device.removedBy],
      [creator, remover],
    );
  });

  it('shows one by its id, and says of an unknown one why it may be', async () => {
    const telling = stalled();
    const { body } = await telling.get<{ violations: Json[] }>('/api/v1/violations');
    const [{ id }] = body.violations;
    const one = await telling.get<{ violation: Json }>(`/api/v1/violations/${id}`);
    assert.deepEqual([one.status, one.body.violation], [200, body.violations[0]]);
    const other = await telling.get('/api/v1/violations/v9-0123456789');
    assert.equal(other.status, 404);
    assert.match(String(other.body.error), /^no violation v9-0123456789 is kept: .*another run/);
  });

  it('shows those that were asked for', async () => {
    const telling = stalled();
    telling.tell((story) => {
      const parent = story.parent({ name: 'gpu1' });
      const device = story.create(parent);
      story.createFails(parent, 17, { uuid: device.uuid });
      const waiting = story.create(parent);
      const as = { pid: 601, comm: 'qemu' };
      const open = story.open(waiting, { vm: story.createVm({ as }), as });
      const removal = story.removeBegins(waiting, { as: { pid: 702, comm: 'sh' } });
      story.wait(61);
      story.close(open);
      story.removeEnds(removal);
    });
    const found = async (query: string) => {
      const { body } = await telling.get<{ violations: Json[] }>(`/api/v1/violations?${query}`);
      return body.violations.map(({ rule, state, severity }) => `${rule} ${state} ${severity}`);
    };
    const all = await found('');
    assert.deepEqual(all.toSorted(), [
      'duplicate-uuid happened info',
      'remove-stall open error',
      'remove-stall resolved error',
    ]);
    assert.deepEqual(await found('state=open'), ['remove-stall open error']);
    assert.deepEqual(await found('severity=info'), ['duplicate-uuid happened info']);
    assert.equal((await found('severity=info&severity=error')).length, 3);
    assert.equal((await found('rule=remove-stall')).length, 2);
    assert.deepEqual(await found('rule=remove-stall&state=happened'), []);
    assert.deepEqual(await found(`device=${UUID.toUpperCase()}`), ['remove-stall open error']);
  });

  it('says of a filter that there is not which there are', async () => {
    const telling = new Served();
    for (const [query, error] of [
      ['since=1', 'violations have no filter since: use state, severity, rule, device'],
      ['constructor=1', 'violations have no filter constructor: use state, severity, rule, device'],
      ['state=closed', 'no violation has the state closed: use open, resolved, happened'],
    ] as const) {
      const { status, body } = await telling.get(`/api/v1/violations?${query}`);
      assert.deepEqual([status, body], [400, { error }]);
    }
  });
});
