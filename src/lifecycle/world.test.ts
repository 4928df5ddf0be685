import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Telling } from '../rules/telling.ts';
import { EndedLives } from './world.ts';

const BASH = { pid: 700, comm: 'bash' };

describe('late adoption', () => {
  const names = { device: 'late-uuid', bus: 'mdev', type: 't1', parent: 'p', driver: 'd' };

  it('makes a device known that was created before, with its parent', () => {
    const telling = new Telling();
    telling.raw('mdev.remove:begin', { dev: 1, parent: 2, names });
    const device = telling.device('late-uuid');
    assert.ok(device);
    assert.deepEqual(
      [device.type, device.parentName, device.driver, telling.world.qualityOf(device)],
      ['t1', 'p', 'd', 'late'],
    );
    assert.deepEqual([telling.onlyParent().name, telling.onlyParent().adopted], ['p', true]);
  });

  it('fills in what the first event did not tell', () => {
    const telling = new Telling();
    const vfio = { ...names, type: '' };
    telling.raw('vfio.device.open:begin', { dev: 1, vdev: 3, file: 4, names: vfio });
    telling.raw('vfio.device.open:end', { dev: 1, vdev: 3, file: 4, openCount: 1 });
    const device = telling.device('late-uuid');
    assert.deepEqual([device?.type, device?.state, device?.parent], ['', 'open', undefined]);
    telling.raw('mdev.remove:begin', { dev: 1, parent: 2, names });
    assert.deepEqual([device?.type, device?.parent === telling.onlyParent()], ['t1', true]);
    assert.equal(telling.world.devices.size, 1);
  });

  it('makes a device file known that was opened before, when it closes', () => {
    const telling = new Telling();
    telling.raw('vfio.device.close:begin', { dev: 1, vdev: 3, file: 4, names, openCount: 1 });
    const [open] = telling.device('late-uuid')?.opens ?? [];
    assert.deepEqual([open.state, telling.world.qualityOf(open)], ['closing', 'late']);
    telling.raw('vfio.device.close:end', { dev: 1, vdev: 3, file: 4, openCount: 0 });
    assert.equal(telling.world.openKeys.size, 0);
    assert.equal(telling.device('late-uuid')?.state, 'bound');
  });

  it('ignores an unknown device that the event does not name', () => {
    const telling = new Telling();
    telling.raw('mdev.unbind:end', { dev: 1 });
    telling.raw('vfio.unregister:end', { dev: 1, vdev: 2 });
    telling.raw('vfio.device.open:end', { dev: 1, vdev: 2, file: 3 });
    telling.raw('mdev.create:end', {});
    telling.raw('mdev.remove:end', {});
    assert.deepEqual(telling.leftovers(), {});
  });
});

describe('reused kernel addresses', () => {
  it('give a new life to a device whose predecessor was released', () => {
    const telling = new Telling();
    const parent = telling.tell((story) => story.parent());
    const told = telling.tell((story) => story.create(parent));
    const first = telling.device(told.uuid);
    telling.tell((story) => story.remove(told));
    const names = { device: 'second', bus: 'mdev', type: 't', parent: parent.name };
    telling.raw('mdev.create:begin', { parent: parent.key, names });
    telling.raw('mdev.probe:begin', { dev: told.key, parent: parent.key, names });
    telling.raw('mdev.probe:end', { dev: told.key });
    telling.raw('mdev.create:end');
    const [second] = telling.world.devices;
    assert.ok(first && second);
    assert.notEqual(second.serial, first.serial);
    assert.deepEqual([first.state, second.state, second.adopted], ['released', 'bound', false]);
  });

  it('end the life of a device whose release was missed', () => {
    const telling = new Telling();
    const parent = telling.tell((story) => story.parent());
    const told = telling.tell((story) => story.create(parent));
    const names = { device: 'second', bus: 'mdev', type: 't', parent: parent.name };
    telling.raw('mdev.create:begin', { parent: parent.key, names });
    telling.raw('mdev.probe:begin', { dev: told.key, parent: parent.key, names });
    assert.deepEqual(
      telling.world.endedDevices.list().map(({ name, state }) => [name, state]),
      [[told.uuid, 'released']],
    );
    assert.equal(telling.device(told.uuid), undefined);
    assert.equal(telling.world.devices.size, 1);
  });

  it('leave nothing behind of a device whose release was missed', () => {
    const telling = new Telling();
    const parent = telling.tell((story) => story.parent());
    const told = telling.tell((story) => story.create(parent));
    const vm = telling.tell((story) => story.createVm());
    telling.tell((story) => story.open(told, { vm }));
    const names = { device: 'second', bus: 'mdev', type: 't', parent: parent.name };
    telling.raw('mdev.create:begin', { parent: parent.key, names });
    telling.raw('mdev.probe:begin', { dev: told.key, parent: parent.key, names });
    const { vdevKeys, openKeys } = telling.world;
    assert.deepEqual({ vdevs: vdevKeys.size, opens: openKeys.size }, { vdevs: 0, opens: 0 });
    assert.equal(telling.onlyVm().devices.size, 0);
  });
});

describe('losses', () => {
  it('taint the lives that were going on and no later ones', () => {
    const telling = new Telling();
    const { world } = telling;
    const parent = telling.tell((story) => story.parent());
    const before = telling.device(telling.tell((story) => story.create(parent)).uuid);
    telling.tell((story) => story.createVm());
    const vm = telling.onlyVm();
    assert.ok(before);
    assert.deepEqual([world.qualityOf(before), world.qualityOf(vm)], ['observed', 'observed']);
    telling.lose();
    const after = telling.device(telling.tell((story) => story.create(parent)).uuid);
    assert.ok(after);
    assert.deepEqual(
      [before, vm, telling.onlyParent(), after].map((life) => world.qualityOf(life)),
      ['tainted', 'tainted', 'tainted', 'observed'],
    );
  });

  it('taint a late life too, and a life adopted later is only late', () => {
    const telling = new Telling();
    telling.raw('kvm.get:begin', { kvm: 1 });
    telling.lose();
    telling.raw('kvm.get:begin', { kvm: 2 });
    assert.deepEqual(
      [...telling.world.vms].map((vm) => telling.world.qualityOf(vm)),
      ['tainted', 'late'],
    );
  });
});

describe('the world', () => {
  it('is empty after all lives have ended', () => {
    const telling = new Telling();
    telling.tell((story) => {
      const parent = story.parent();
      const vm = story.createVm();
      const device = story.create(parent);
      const opens = [story.open(device, { vm }), story.open(device, { vm })];
      story.createFails(parent, 22);
      const removal = story.removeBegins(device, { as: BASH });
      for (const open of opens) story.close(open);
      story.clearKvm(device);
      story.removeEnds(removal);
      story.closeVm(vm);
      const child = story.create(parent);
      const unregistering = story.parentUnregisterBegins(parent);
      story.childRemoved(unregistering, child);
      story.parentUnregisterEnds(unregistering);
    });
    assert.deepEqual(telling.leftovers(), {});
    assert.deepEqual(
      [telling.world.endedDevices.list().length, telling.world.endedVms.list().length],
      [3, 1],
    );
  });

  it('keeps only the latest ended lives', () => {
    const telling = new Telling({}, { endedLives: 5 });
    const uuids: string[] = [];
    telling.tell((story) => {
      const parent = story.parent();
      for (let i = 0; i < 23; i++) {
        const device = story.create(parent);
        uuids.push(device.uuid);
        story.remove(device);
        story.closeVm(story.createVm());
      }
    });
    const ended = telling.world.endedDevices.list();
    assert.deepEqual(
      ended.map(({ name }) => name),
      uuids.slice(-5),
    );
    assert.equal(telling.world.endedVms.list().length, 5);
  });

  it('knows how late it is, and does not go back', () => {
    const telling = new Telling();
    telling.raw('kvm.get:begin', { kvm: 1, time: 5000 });
    telling.raw('kvm.get:begin', { kvm: 1, time: 4000 });
    assert.equal(telling.world.now, 5000);
  });
});

describe('EndedLives', () => {
  it('holds at most its limit, the newest ones, oldest first', () => {
    for (const limit of [1, 2, 7]) {
      const lives = new EndedLives<number>(limit);
      for (let i = 1; i <= 50; i++) {
        lives.add(i);
        const held = lives.list();
        assert.ok(held.length === Math.min(i, limit));
        assert.deepEqual([held[0], held.at(-1)], [Math.max(1, i - limit + 1), i]);
      }
    }
  });
});
