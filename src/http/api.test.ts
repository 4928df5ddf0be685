import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { type Json, Served, stalled, UUID } from '../../test/kit/served.ts';
import { bindCdev, bindCdevFails, openCdev, openIommufd } from '../scenario/cdev.ts';
import { LINUX_6_12 } from '../scenario/kernels.ts';

const QEMU = { pid: 600, tid: 600, comm: 'qemu', uid: 0 };
const BASH = { pid: 700, tid: 700, comm: 'bash', uid: 0 };

describe('/api/v1/devices', () => {
  it('shows the state, users and times of each device', async () => {
    const { body } = await stalled().get<{ devices: Json[]; ended: Json[] }>('/api/v1/devices');
    assert.equal(body.ended.length, 0);
    const [device, ...others] = body.devices;
    assert.equal(others.length, 0);
    const { id, bus, mdevType, parent, driver, state, waitingForUsers, quality, openCount } =
      device;
    assert.deepEqual(
      { id, bus, mdevType, parent, driver, state, waitingForUsers, quality, openCount },
      {
        ...{ id: UUID, bus: 'mdev', mdevType: 'gpu0-1', parent: 'gpu0', driver: 'nv' },
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

  it('shows the cdevs of a device, with who opened and who bound them', async () => {
    const runner = new Served();
    runner.run((scenario) => {
      const device = scenario.create(scenario.parent(), { uuid: UUID });
      const [shim, qemu] = [
        { pid: 700, comm: 'shim' },
        { pid: 800, comm: 'qemu' },
      ];
      const cdev = openCdev(scenario, device, { as: shim });
      bindCdevFails(scenario, cdev, 16, { as: qemu, at: 'group' });
      bindCdev(scenario, cdev, { as: qemu, iommufd: openIommufd(scenario, { as: shim }) });
    });
    const { body } = await runner.get<{ device: Json }>(`/api/v1/devices/${UUID}`);
    const [cdev, ...others] = body.device.cdevs as Json[];
    assert.deepEqual(others, []);
    const { name, state, quality, openedBy, boundBy, bindError, attached } = cdev;
    const iommufd = cdev.iommufd as Json;
    assert.match(String(iommufd.id), /^iommufd-\d+$/);
    assert.deepEqual(iommufd.openedBy, { pid: 700, tid: 700, comm: 'shim', uid: 0 });
    assert.deepEqual(
      { name, state, quality, openedBy, boundBy, bindError, attached },
      {
        ...{ name: 'vfio2', state: 'bound', quality: 'observed' },
        openedBy: { pid: 700, tid: 700, comm: 'shim', uid: 0 },
        boundBy: { pid: 800, tid: 800, comm: 'qemu', uid: 0 },
        ...{ bindError: 'EBUSY', attached: undefined },
      },
    );
  });

  it('shows one device, live and ended, with its timeline', async () => {
    const runner = new Served();
    runner.run((scenario) => {
      const parent = scenario.parent();
      for (let i = 0; i < 3; i++) scenario.remove(scenario.create(parent, { uuid: UUID }));
      scenario.create(parent, { uuid: UUID });
    });
    const { body } = await runner.get<{ device: Json; ended: Json[] }>(`/api/v1/devices/${UUID}`);
    assert.deepEqual(
      [body.device.state, body.ended.map(({ state }) => state)],
      ['bound', Array(3).fill('released')],
    );
    const objects = [body.device, ...body.ended].map(({ object }) => Number(object));
    assert.deepEqual(
      objects,
      objects.toSorted((a, b) => b - a),
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

  it('has the trace ids of a device, of its violation and of its VM', async () => {
    const runner = stalled();
    const { body } = await runner.get<{ device: Json }>(`/api/v1/devices/${UUID}`);
    const { body: list } = await runner.get<{ violations: Json[] }>('/api/v1/violations');
    const { body: machines } = await runner.get<{ vms: Json[] }>('/api/v1/vms');
    assert.match(String(body.device.traceId), /^[0-9a-f]{32}$/);
    assert.equal(list.violations[0].traceId, body.device.traceId);
    assert.match(String(machines.vms[0].traceId), /^[0-9a-f]{32}$/);
    assert.notEqual(machines.vms[0].traceId, body.device.traceId);
  });

  it('finds a device by its UUID in capitals', async () => {
    const { status, body } = await stalled().get<{ device: Json }>(
      `/api/v1/devices/${UUID.toUpperCase()}`,
    );
    assert.deepEqual([status, body.device.id], [200, UUID]);
  });

  it('finds a device whose own name has capitals', async () => {
    const runner = new Served();
    runner.run((scenario) => scenario.bindPci('AMDI8001:00'));
    const { status, body } = await runner.get<{ device: Json }>('/api/v1/devices/AMDI8001:00');
    assert.deepEqual([status, body.device?.id], [200, 'AMDI8001:00']);
  });

  it('answers for an unknown device where it searched', async () => {
    const { status, body } = await new Served().get('/api/v1/devices/No-Such');
    assert.equal(status, 404);
    assert.deepEqual(body, {
      error: 'device not found: No-Such (neither live nor among the last 5 ended)',
    });
  });
});

describe('/api/v1/vms and /api/v1/parents', () => {
  it('name who may hold a zombie VM to a client that asks only once', async () => {
    let isRead = false;
    const owner = {
      ...{ pid: 777, comm: 'vcpu-worker', uid: 0, startedAt: 0, kvmFiles: true },
      ...{ deviceFiles: [], groupFiles: [], cdevFiles: [], mappedDevices: [] },
    };
    const runner = new Served({
      host: {
        traits: LINUX_6_12,
        pidsWithKvmFiles: () => new Set([777]),
        fileOwners: () => (isRead ? [owner] : undefined),
      },
      readHolders: async () => {
        await setImmediate();
        isRead = true;
      },
    });
    runner.run((scenario) => {
      const vm = scenario.createVm();
      scenario.getKvm(vm);
      scenario.closeVm(vm);
    });
    const { body } = await runner.get<{ vms: { state: string; holders: Json[] }[] }>('/api/v1/vms');
    assert.equal(body.vms[0].state, 'zombie');
    assert.equal(body.vms[0].holders.length, 1);
  });

  it('show the creator and the holders of a VM, and the devices of a parent', async () => {
    const runner = stalled();
    const { body } = await runner.get<{ vms: Json[]; ended: Json[] }>('/api/v1/vms');
    const [{ state, createdBy, usersCount, devices, quality, holders }] = body.vms;
    assert.deepEqual(
      { state, createdBy, usersCount, devices, quality },
      {
        state: 'running',
        createdBy: QEMU,
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
    const parents = await runner.get<{ parents: Json[] }>('/api/v1/parents');
    const [{ name, driver, devices: count, state: parentState }] = parents.body.parents;
    assert.deepEqual([name, driver, count, parentState], ['gpu0', 'nv', 1, 'registered']);
  });
});

describe('/api/v1/violations', () => {
  it('has everything that a report needs', async () => {
    const { body } = await stalled().get<{ violations: Json[] }>('/api/v1/violations');
    const [violation, ...others] = body.violations;
    assert.equal(others.length, 0);
    const { rule, severity, kind, state, quality, device, parent, mdevType, process, vm, count } =
      violation;
    assert.deepEqual(
      { rule, severity, kind, state, quality, device, parent, mdevType, process, count },
      {
        ...{ rule: 'remove-stall', severity: 'warning', kind: 'ongoing', state: 'open' },
        quality: 'observed',
        ...{ device: UUID, parent: 'gpu0', mdevType: 'gpu0-1', count: 1 },
        process: BASH,
      },
    );
    assert.deepEqual(vm, { id: (vm as Json).id, pid: 600, comm: 'qemu' });
    assert.match(String(violation.message), /waiting for 11 s.*held open by qemu \(pid 600\)/);
    const evidence = violation.evidence as Json[];
    assert.ok(evidence.length > 10);
    assert.equal(evidence.at(-1)?.point, 'vfio.unregister');
    assert.ok(evidence.every(({ at }) => /^2025-11-13T/.test(String(at))));
  });

  it('shows holders, blocked task, creator and remover', async () => {
    const group = { path: '/machine.slice/a.scope', unit: 'a.scope', container: 'c0ffee' };
    const inKernel = { state: 'D (disk sleep)', wchan: 'wait', stack: ['wait+0x1/0x2 [vfio]'] };
    const runner = stalled({
      ...{ traits: LINUX_6_12, pidsWithKvmFiles: () => undefined },
      controlGroup: () => group,
      blockedTask: () => inKernel,
      hasDeviceFile: () => true,
    });
    const { body } = await runner.get<{ violations: Json[] }>('/api/v1/violations');
    const [{ holders, blocked, createdBy, removedBy, vm, incarnation }] = body.violations;
    const at = { cgroup: group.path, systemdUnit: 'a.scope', container: 'c0ffee' };
    const [{ since, ...holder }, ...others] = holders as Json[];
    assert.equal(others.length, 0);
    assert.deepEqual(holder, {
      ...{ process: { ...QEMU, ...at }, holds: 'device', how: 'holds', device: UUID, fd: 20 },
      vm: (vm as Json).id,
    });
    assert.match(String((since as Json).at), /^2025-11-13T/);
    assert.deepEqual(blocked, { ...BASH, ...at, ...inKernel });
    assert.deepEqual(removedBy, { ...BASH, ...at });
    assert.deepEqual(createdBy, { pid: 500, tid: 500, comm: 'mdevctl', uid: 0, ...at });
    const device = await runner.get<{ device: Json }>(`/api/v1/devices/${UUID}`);
    assert.deepEqual(
      [device.body.device.createdBy, device.body.device.removedBy],
      [createdBy, removedBy],
    );
    assert.equal(device.body.device.incarnation, incarnation);
  });

  it('shows who waits behind a stalled call, and how much of that is inferred', async () => {
    const inKernel = {
      state: 'D (disk sleep)',
      wchan: 'device_del',
      stack: ['device_del+0x3d/0x3e0'],
    };
    const tasks = [{ pid: 450, tid: 451, comm: 'libvirtd', uid: 0, inKernel }];
    const runner = stalled({
      ...{ traits: LINUX_6_12, pidsWithKvmFiles: () => undefined },
      waitingTasks: () => ({ tasks, missing: ['hidden'] }),
    });
    const { body } = await runner.get<{ violations: Json[] }>('/api/v1/violations');
    assert.deepEqual(body.violations[0].waiters, {
      ...{ waits: 0, probablyWaits: 0, mayWait: 1, missing: ['hidden'] },
      tasks: [{ pid: 450, tid: 451, comm: 'libvirtd', uid: 0, how: 'may wait', ...inKernel }],
    });
  });

  it('shows one violation by its id, and explains why another is unknown', async () => {
    const runner = stalled();
    const { body } = await runner.get<{ violations: Json[] }>('/api/v1/violations');
    const [{ id }] = body.violations;
    const one = await runner.get<{ violation: Json }>(`/api/v1/violations/${id}`);
    assert.deepEqual([one.status, one.body.violation], [200, body.violations[0]]);
    const other = await runner.get('/api/v1/violations/v9-0123456789');
    assert.equal(other.status, 404);
    assert.match(String(other.body.error), /^violation not found: v9-0123456789 .*another run/);
  });

  it('filters violations', async () => {
    const runner = stalled();
    runner.run((scenario) => {
      const parent = scenario.parent({ name: 'gpu1' });
      const device = scenario.create(parent);
      scenario.createFails(parent, 17, { uuid: device.uuid });
      const waiting = scenario.create(parent);
      const as = { pid: 601, comm: 'qemu' };
      const open = scenario.open(waiting, { vm: scenario.createVm({ as }), as });
      const removal = scenario.removeBegins(waiting, { as: { pid: 702, comm: 'sh' } });
      scenario.wait(61);
      scenario.close(open);
      scenario.removeEnds(removal);
    });
    const found = async (query: string) => {
      const { body } = await runner.get<{ violations: Json[] }>(`/api/v1/violations?${query}`);
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
    assert.deepEqual(await found('kind=one-shot'), ['duplicate-uuid happened info']);
    assert.deepEqual(await found(`device=${UUID.toUpperCase()}`), ['remove-stall open error']);
  });

  it('lists the filters and values when one is unknown', async () => {
    const runner = new Served();
    const filters = 'use kind, state, severity, rule, device';
    for (const [query, code, error] of [
      ['since=1', 'api.unknown-filter', `unknown filter of violations: since: ${filters}`],
      [
        'constructor=1',
        'api.unknown-filter',
        `unknown filter of violations: constructor: ${filters}`,
      ],
      [
        'state=closed',
        'api.unknown-value',
        'unknown state of violations: closed: use open, resolved, happened',
      ],
    ] as const) {
      const { status, body } = await runner.get(`/api/v1/violations?${query}`);
      assert.deepEqual([status, body], [400, { code, error }]);
    }
  });
});
