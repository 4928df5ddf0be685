import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Telling } from '../rules/telling.ts';
import type { Device } from './objects.ts';

const BASH = { pid: 700, comm: 'bash' };
const EEXIST = 17;
const EINVAL = 22;
const EAGAIN = 11;

describe('the life of a mediated device', () => {
  it('goes from creating over bound and open to removing and released', () => {
    const telling = new Telling();
    const parent = telling.tell((story) => story.parent({ name: 'gpu0', driver: 'nvidia' }));
    const creation = telling.tell((story) => story.createBegins(parent));
    const device = telling.device(creation.device.uuid);
    assert.ok(device);
    assert.equal(device.state, 'creating');
    assert.equal(device.createdAt, 0);

    telling.tell((story) => story.createEnds(creation));
    assert.equal(device.state, 'bound');
    assert.ok(device.createBegan > 0 && device.createdAt > device.createBegan);
    assert.deepEqual(
      [device.bus, device.type, device.parentName, device.driver, device.creator?.comm],
      ['mdev', 'gpu0-1', 'gpu0', 'nvidia', 'mdevctl'],
    );
    assert.equal(device.parent, telling.onlyParent());

    const open = telling.tell((story) => story.open(creation.device));
    assert.deepEqual([device.state, device.openCount], ['open', 1]);
    telling.tell((story) => story.close(open));
    assert.deepEqual([device.state, device.openCount, device.opensTotal], ['bound', 0, 1]);

    const removal = telling.tell((story) => story.removeBegins(creation.device, { as: BASH }));
    assert.deepEqual([device.state, device.remover?.pid], ['removing', 700]);
    assert.equal(device.isOver, false);

    telling.tell((story) => story.removeEnds(removal));
    assert.equal(device.state, 'released');
    assert.equal(device.isOver, true);
    assert.ok(device.removeBegan < device.unregisteredAt);
    assert.ok(device.unregisteredAt < device.releasedAt && device.releasedAt < device.removedAt);
    assert.deepEqual(telling.world.endedDevices.list(), [device]);
  });

  it('waits in removing while somebody has it open', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.create(story.parent()));
    const device = telling.device(told.uuid);
    const open = telling.tell((story) => story.open(told));
    const removal = telling.tell((story) => story.removeBegins(told, { as: BASH }));
    assert.deepEqual([device?.state, device?.isWaiting], ['removing', true]);
    telling.tell((story) => story.close(open));
    assert.deepEqual([device?.state, device?.isWaiting], ['removing', false]);
    telling.tell((story) => story.removeEnds(removal));
    assert.equal(device?.state, 'released');
  });

  it('ends as failed when its creation fails before its probe', () => {
    const telling = new Telling();
    const uuid = '11111111-2222-4333-8444-555555555555';
    const parent = telling.tell((story) => story.parent());
    telling.tell((story) => story.createFails(parent, EINVAL, { uuid }));
    const [device] = telling.world.endedDevices.list();
    assert.deepEqual([device.name, device.state, device.createError], [uuid, 'failed', EINVAL]);
    assert.equal(telling.world.devices.size, 0);
    assert.equal(telling.world.creating.size, 0);
  });

  it('leaves the device alone whose UUID a failed creation asked for', () => {
    const telling = new Telling();
    const parent = telling.tell((story) => story.parent());
    const told = telling.tell((story) => story.create(parent));
    const device = telling.device(told.uuid);
    // The kernel frees the second device, under a key of its own, before create returns.
    const { uuid } = told;
    telling.raw('mdev.create:begin', { pid: 1, parent: parent.key, names: { uuid } });
    telling.raw('mdev.release:begin', { pid: 1, dev: 99, names: { device: uuid, bus: 'mdev' } });
    telling.raw('mdev.release:end', { pid: 1, dev: 99 });
    telling.raw('mdev.create:end', { pid: 1, parent: parent.key, ret: -EEXIST });
    assert.equal(telling.device(uuid), device);
    assert.equal(device?.state, 'bound');
    const [failed, ...others] = telling.world.endedDevices.list();
    assert.deepEqual([failed.state, failed.holder === device, others.length], ['failed', true, 0]);
  });

  it('ends as failed, once, when its creation fails after its probe', () => {
    const telling = new Telling();
    const { device } = telling.tell((story) => story.createBegins(story.parent()));
    const fields = { dev: device.key, vdev: device.key, ret: 0, names: { device: device.uuid } };
    telling.raw('vfio.release:begin', fields);
    telling.raw('mdev.probe:end', { dev: device.key, ret: -EINVAL });
    telling.raw('mdev.release:begin', fields);
    assert.equal(telling.world.endedDevices.list().length, 0);
    telling.raw('mdev.release:end', { dev: device.key });
    telling.raw('mdev.create:end', { ret: -EINVAL });
    assert.deepEqual(
      telling.world.endedDevices.list().map(({ state, createError }) => [state, createError]),
      [['failed', EINVAL]],
    );
    assert.deepEqual(telling.leftovers(), { parents: 1, parentKeys: 1 });
  });

  it('is not forgotten when a failed creation ends late that had its address before', () => {
    const telling = new Telling();
    const parent = telling.tell((story) => story.parent());
    const names = { bus: 'mdev', type: 't' };
    const [first, second] = ['first', 'second'].map((device) => ({ ...names, device }));
    telling.raw('mdev.create:begin', { pid: 1, parent: parent.key, names: {} });
    telling.raw('mdev.probe:begin', { pid: 1, dev: 50, names: first });
    telling.raw('mdev.release:begin', { pid: 1, dev: 50, names: first });
    // Before the first create returns, the allocator gives the same memory to the second.
    telling.raw('mdev.create:begin', { pid: 2, parent: parent.key, names: {} });
    telling.raw('mdev.probe:begin', { pid: 2, dev: 50, names: second });
    telling.raw('mdev.create:end', { pid: 1, ret: -EINVAL });
    telling.raw('mdev.create:end', { pid: 2 });
    telling.raw('mdev.remove:begin', { pid: 3, dev: 50, names: second });
    assert.equal(telling.world.devices.size, 1);
    const [device] = telling.world.devices;
    assert.deepEqual([device.adopted, device.removeBegan > 0], [false, true]);
  });

  it('stays bound when its removal is refused', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.create(story.parent()));
    const removal = telling.tell((story) => story.removeBegins(told, { idle: true }));
    telling.tell((story) => story.removeEnds(removal, { error: EAGAIN }));
    const device = telling.device(told.uuid);
    assert.deepEqual([device?.state, device?.removeError, device?.removedAt], ['bound', EAGAIN, 0]);
  });

  it('is unbound when its driver is taken away without a removal, and bound again later', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.create(story.parent()));
    const device = telling.device(told.uuid);
    const { key, uuid } = told;
    const names = { device: uuid, bus: 'mdev', type: 'mtty-1', parent: 'mtty', driver: 'mtty' };
    telling.raw('mdev.unbind:begin', { dev: key, names });
    telling.raw('vfio.unregister:begin', { dev: key, vdev: key, openCount: 0, names });
    telling.raw('vfio.unregister:end', { dev: key, vdev: key, openCount: 0 });
    telling.raw('vfio.release:begin', { dev: key, vdev: key, names });
    telling.raw('mdev.unbind:end', { dev: key });
    assert.deepEqual([device?.state, device?.isOver], ['unbound', false]);
    assert.equal(telling.device(uuid), device);

    telling.raw('mdev.probe:begin', { dev: key, names });
    telling.raw('vfio.register_emulated:begin', { dev: key, vdev: 77, names });
    telling.raw('vfio.register_emulated:end', { dev: key, vdev: 77, groupId: told.groupId });
    telling.raw('mdev.probe:end', { dev: key });
    assert.equal(device?.state, 'bound');
    assert.ok(
      telling.world.groups.get(told.groupId)?.devices.has(device as Device),
      'it is back in its IOMMU group, whose number the kernel gave out again',
    );
  });

  it('can be removed while it is unbound', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.create(story.parent()));
    const names = { device: told.uuid, bus: 'mdev' };
    telling.raw('mdev.unbind:begin', { dev: told.key, names });
    telling.raw('mdev.unbind:end', { dev: told.key });
    telling.raw('mdev.remove:begin', { dev: told.key, names });
    telling.raw('mdev.release:begin', { dev: told.key, names });
    telling.raw('mdev.release:end', { dev: told.key });
    telling.raw('mdev.remove:end', { dev: told.key });
    const [device] = telling.world.endedDevices.list();
    assert.deepEqual([device.name, device.state], [told.uuid, 'released']);
    assert.ok(device.removedAt > 0);
  });
});

describe('the life of a parent', () => {
  it('begins with its registration', () => {
    const telling = new Telling();
    telling.raw('mdev.parent.register:begin', { parent: 1, names: { parent: 'p', driver: 'd' } });
    const parent = telling.onlyParent();
    assert.deepEqual([parent.name, parent.driver, parent.state], ['p', 'd', 'registering']);
    telling.raw('mdev.parent.register:end', { parent: 1 });
    assert.deepEqual([parent.state, parent.adopted], ['registered', false]);
    assert.ok(parent.registeredAt > parent.firstSeen);
  });

  it('is over when its registration fails', () => {
    const telling = new Telling();
    telling.raw('mdev.parent.register:begin', { parent: 1, names: { parent: 'p' } });
    telling.raw('mdev.parent.register:end', { parent: 1, ret: -EINVAL });
    assert.deepEqual(telling.leftovers(), {});
  });

  it('ends with all its devices when it is unregistered', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.parent());
    const devices = telling.tell((story) => [story.create(told), story.create(told)]);
    const parent = telling.onlyParent();
    assert.equal(parent.devices.size, 2);
    const unregistering = telling.tell((story) => story.parentUnregisterBegins(told));
    assert.equal(parent.state, 'unregistering');
    for (const device of devices)
      telling.tell((story) => story.childRemoved(unregistering, device));
    assert.equal(parent.devices.size, 0);
    telling.tell((story) => story.parentUnregisterEnds(unregistering));
    assert.equal(parent.state, 'gone');
    assert.deepEqual(
      telling.world.endedDevices.list().map(({ name, state }) => [name, state]),
      devices.map(({ uuid }) => [uuid, 'released']),
    );
    assert.deepEqual(telling.leftovers(), {});
  });
});
