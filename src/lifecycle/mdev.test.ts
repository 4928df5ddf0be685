import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ScenarioRunner } from '../../test/kit/scenario-runner.ts';
import type { Device } from './objects.ts';

const BASH = { pid: 700, comm: 'bash' };
const EEXIST = 17;
const EINVAL = 22;
const EAGAIN = 11;

describe('the lifecycle of an mdev', () => {
  it('passes from creating through bound, open and removing to released', () => {
    const runner = new ScenarioRunner();
    const parent = runner.run((scenario) => scenario.parent({ name: 'gpu0', driver: 'nvidia' }));
    const creation = runner.run((scenario) => scenario.createBegins(parent));
    const device = runner.device(creation.device.uuid);
    assert.ok(device);
    assert.equal(device.state, 'creating');
    assert.equal(device.createdAt, 0);

    runner.run((scenario) => scenario.createEnds(creation));
    assert.equal(device.state, 'bound');
    assert.ok(device.createBegan > 0 && device.createdAt > device.createBegan);
    assert.deepEqual(
      [device.bus, device.type, device.parentName, device.driver, device.creator?.comm],
      ['mdev', 'gpu0-1', 'gpu0', 'nvidia', 'mdevctl'],
    );
    assert.equal(device.parent, runner.onlyParent());

    const open = runner.run((scenario) => scenario.open(creation.device));
    assert.deepEqual([device.state, device.openCount], ['open', 1]);
    runner.run((scenario) => scenario.close(open));
    assert.deepEqual([device.state, device.openCount, device.opensTotal], ['bound', 0, 1]);

    const removal = runner.run((scenario) => scenario.removeBegins(creation.device, { as: BASH }));
    assert.deepEqual([device.state, device.remover?.pid], ['removing', 700]);
    assert.equal(device.isOver, false);

    runner.run((scenario) => scenario.removeEnds(removal));
    assert.equal(device.state, 'released');
    assert.equal(device.isOver, true);
    assert.ok(device.removeBegan < device.unregisteredAt);
    assert.ok(device.unregisteredAt < device.releasedAt && device.releasedAt < device.removedAt);
    assert.deepEqual(runner.world.devices.ended.list(), [device]);
  });

  it('stays in removing while a process has it open', () => {
    const runner = new ScenarioRunner();
    const mdev = runner.run((scenario) => scenario.create(scenario.parent()));
    const device = runner.device(mdev.uuid);
    const open = runner.run((scenario) => scenario.open(mdev));
    const removal = runner.run((scenario) => scenario.removeBegins(mdev, { as: BASH }));
    assert.deepEqual([device?.state, device?.isWaiting], ['removing', true]);
    runner.run((scenario) => scenario.close(open));
    assert.deepEqual([device?.state, device?.isWaiting], ['removing', false]);
    runner.run((scenario) => scenario.removeEnds(removal));
    assert.equal(device?.state, 'released');
  });

  it('ends as failed when its create fails before its driver is probed', () => {
    const runner = new ScenarioRunner();
    const uuid = '11111111-2222-4333-8444-555555555555';
    const parent = runner.run((scenario) => scenario.parent());
    runner.run((scenario) => scenario.createFails(parent, EINVAL, { uuid }));
    const [device] = runner.world.devices.ended.list();
    assert.deepEqual([device.name, device.state, device.createError], [uuid, 'failed', EINVAL]);
    assert.equal(runner.world.devices.size, 0);
    assert.equal(runner.world.calls.size, 0);
  });

  it('is not affected by a create that fails because the UUID is in use', () => {
    const runner = new ScenarioRunner();
    const parent = runner.run((scenario) => scenario.parent());
    const mdev = runner.run((scenario) => scenario.create(parent));
    const device = runner.device(mdev.uuid);
    // The kernel frees the second device, under a key of its own, before create returns.
    const { uuid } = mdev;
    runner.raw('mdev.create:begin', { pid: 1, parent: parent.key, names: { uuid } });
    runner.raw('mdev.release:begin', { pid: 1, dev: 99, names: { device: uuid, bus: 'mdev' } });
    runner.raw('mdev.release:end', { pid: 1, dev: 99 });
    runner.raw('mdev.create:end', { pid: 1, parent: parent.key, ret: -EEXIST });
    assert.equal(runner.device(uuid), device);
    assert.equal(device?.state, 'bound');
    const [failed, ...others] = runner.world.devices.ended.list();
    assert.deepEqual([failed.state, failed.holder === device, others.length], ['failed', true, 0]);
  });

  it('ends as failed, and only once, when its create fails after its driver was probed', () => {
    const runner = new ScenarioRunner();
    const { device } = runner.run((scenario) => scenario.createBegins(scenario.parent()));
    const fields = { dev: device.key, vdev: device.key, ret: 0, names: { device: device.uuid } };
    runner.raw('vfio.release:begin', fields);
    runner.raw('mdev.probe:end', { dev: device.key, ret: -EINVAL });
    runner.raw('mdev.release:begin', fields);
    assert.equal(runner.world.devices.ended.list().length, 0);
    runner.raw('mdev.release:end', { dev: device.key });
    runner.raw('mdev.create:end', { ret: -EINVAL });
    assert.deepEqual(
      runner.world.devices.ended.list().map(({ state, createError }) => [state, createError]),
      [['failed', EINVAL]],
    );
    assert.deepEqual(runner.leftovers(), { parents: 1, 'parents indexed': 2 });
  });

  it('stays when a failed create returns whose device had the same address before', () => {
    const runner = new ScenarioRunner();
    const parent = runner.run((scenario) => scenario.parent());
    const names = { bus: 'mdev', type: 't' };
    const [first, second] = ['first', 'second'].map((device) => ({ ...names, device }));
    runner.raw('mdev.create:begin', { pid: 1, parent: parent.key, names: {} });
    runner.raw('mdev.probe:begin', { pid: 1, dev: 50, names: first });
    runner.raw('mdev.release:begin', { pid: 1, dev: 50, names: first });
    // Before the first create returns, the allocator gives the same memory to the second.
    runner.raw('mdev.create:begin', { pid: 2, parent: parent.key, names: {} });
    runner.raw('mdev.probe:begin', { pid: 2, dev: 50, names: second });
    runner.raw('mdev.create:end', { pid: 1, ret: -EINVAL });
    runner.raw('mdev.create:end', { pid: 2 });
    runner.raw('mdev.remove:begin', { pid: 3, dev: 50, names: second });
    assert.equal(runner.world.devices.size, 1);
    const [device] = runner.world.devices;
    assert.deepEqual([device.adopted, device.removeBegan > 0], [false, true]);
  });

  it('stays bound when its removal fails', () => {
    const runner = new ScenarioRunner();
    const mdev = runner.run((scenario) => scenario.create(scenario.parent()));
    const removal = runner.run((scenario) => scenario.removeBegins(mdev, { idle: true }));
    runner.run((scenario) => scenario.removeEnds(removal, { error: EAGAIN }));
    const device = runner.device(mdev.uuid);
    assert.deepEqual([device?.state, device?.removeError, device?.removedAt], ['bound', EAGAIN, 0]);
  });

  it('is unbound when only its driver is unbound, and can be bound again', () => {
    const runner = new ScenarioRunner();
    const mdev = runner.run((scenario) => scenario.create(scenario.parent()));
    const device = runner.device(mdev.uuid);
    const { key, uuid } = mdev;
    const names = { device: uuid, bus: 'mdev', type: 'mtty-1', parent: 'mtty', driver: 'mtty' };
    runner.raw('mdev.unbind:begin', { dev: key, names });
    runner.raw('vfio.unregister:begin', { dev: key, vdev: key, openCount: 0, names });
    runner.raw('vfio.unregister:end', { dev: key, vdev: key, openCount: 0 });
    runner.raw('vfio.release:begin', { dev: key, vdev: key, names });
    runner.raw('mdev.unbind:end', { dev: key });
    assert.deepEqual([device?.state, device?.isOver], ['unbound', false]);
    assert.equal(runner.device(uuid), device);

    runner.raw('mdev.probe:begin', { dev: key, names });
    runner.raw('vfio.register_emulated:begin', { dev: key, vdev: 77, names });
    runner.raw('vfio.register_emulated:end', { dev: key, vdev: 77, groupId: mdev.groupId });
    runner.raw('mdev.probe:end', { dev: key });
    assert.equal(device?.state, 'bound');
    assert.ok(
      runner.world.groups.get(mdev.groupId)?.devices.includes(device as Device),
      'it is back in its IOMMU group, whose number the kernel gave out again',
    );
  });

  it('can be removed while it is unbound', () => {
    const runner = new ScenarioRunner();
    const mdev = runner.run((scenario) => scenario.create(scenario.parent()));
    const names = { device: mdev.uuid, bus: 'mdev' };
    runner.raw('mdev.unbind:begin', { dev: mdev.key, names });
    runner.raw('mdev.unbind:end', { dev: mdev.key });
    runner.raw('mdev.remove:begin', { dev: mdev.key, names });
    runner.raw('mdev.release:begin', { dev: mdev.key, names });
    runner.raw('mdev.release:end', { dev: mdev.key });
    runner.raw('mdev.remove:end', { dev: mdev.key });
    const [device] = runner.world.devices.ended.list();
    assert.deepEqual([device.name, device.state], [mdev.uuid, 'released']);
    assert.ok(device.removedAt > 0);
  });
});

describe('the lifecycle of a parent', () => {
  it('begins with its registration', () => {
    const runner = new ScenarioRunner();
    runner.raw('mdev.parent.register:begin', { parent: 1, names: { parent: 'p', driver: 'd' } });
    const parent = runner.onlyParent();
    assert.deepEqual([parent.name, parent.driver, parent.state], ['p', 'd', 'registering']);
    runner.raw('mdev.parent.register:end', { parent: 1 });
    assert.deepEqual([parent.state, parent.adopted], ['registered', false]);
    assert.ok(parent.registeredAt > parent.firstSeen);
  });

  it('ends when its registration fails', () => {
    const runner = new ScenarioRunner();
    runner.raw('mdev.parent.register:begin', { parent: 1, names: { parent: 'p' } });
    runner.raw('mdev.parent.register:end', { parent: 1, ret: -EINVAL });
    assert.deepEqual(runner.leftovers(), {});
  });

  it('ends with all its devices when it is unregistered', () => {
    const runner = new ScenarioRunner();
    const registered = runner.run((scenario) => scenario.parent());
    const devices = runner.run((scenario) => [
      scenario.create(registered),
      scenario.create(registered),
    ]);
    const parent = runner.onlyParent();
    assert.equal(parent.devices.size, 2);
    const unregistering = runner.run((scenario) => scenario.parentUnregisterBegins(registered));
    assert.equal(parent.state, 'unregistering');
    for (const device of devices)
      runner.run((scenario) => scenario.childRemoved(unregistering, device));
    assert.equal(parent.devices.size, 0);
    runner.run((scenario) => scenario.parentUnregisterEnds(unregistering));
    assert.equal(parent.state, 'gone');
    assert.deepEqual(
      runner.world.devices.ended.list().map(({ name, state }) => [name, state]),
      devices.map(({ uuid }) => [uuid, 'released']),
    );
    assert.deepEqual(runner.leftovers(), {});
  });
});
