/** What becomes of a vfio_device that outlives the mdev that it stood for, and of other rare ends. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  closeGroup,
  createIn,
  openGroup,
  registers,
  removeKeepingVdev,
} from '../rules/story-vfio.ts';
import { Telling } from '../rules/telling.ts';

describe('a vfio_device that outlives its mdev', () => {
  it('is known until it is freed, and its mdev told so', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.create(story.parent()));
    telling.tell((story) => removeKeepingVdev(story, told));
    const [device] = telling.world.unfreed;
    assert.deepEqual(
      [device.state, device.vfio, device.hasVdev],
      ['released', 'unregistered', true],
    );
    telling.tell((story) => story.freeVdev(told));
    assert.deepEqual([device.vfio, device.hasVdev], ['released', false]);
    assert.equal(device.timeline.lastTime(), device.vdevReleasedAt);
    assert.deepEqual(telling.leftovers(), { parents: 1, parentKeys: 1 });
  });

  it('is freed without harm to the mdev that has the address by then', () => {
    const telling = new Telling();
    const parent = telling.tell((story) => story.parent());
    const first = telling.tell((story) => story.create(parent));
    telling.tell((story) => removeKeepingVdev(story, first));
    // Its vfio_device is elsewhere.
    const names = { device: 'second', bus: 'mdev', type: 't', parent: parent.name };
    telling.raw('mdev.create:begin', { parent: parent.key, names });
    telling.raw('mdev.probe:begin', { dev: first.key, parent: parent.key, names });
    telling.raw('vfio.init:begin', { dev: first.key, names });
    telling.raw('vfio.init:end', { dev: first.key, vdev: 77 });
    telling.raw('vfio.register_emulated:begin', { dev: first.key, vdev: 77, names });
    telling.raw('vfio.register_emulated:end', { dev: first.key, vdev: 77, groupId: 5 });
    telling.tell((story) => story.freeVdev(first));
    const [second] = telling.world.devices;
    assert.deepEqual([second.vfio, second.vdevReleasedAt], ['registered', 0]);
    assert.equal(telling.world.unfreed.size, 0);
    // A release that nobody waits for any more finds nobody.
    telling.tell((story) => story.freeVdev(first));
    assert.equal(second.vfio, 'registered');
  });

  it('is forgotten when events are lost, for its release may be among them', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.create(story.parent()));
    telling.tell((story) => removeKeepingVdev(story, told));
    telling.lose();
    assert.deepEqual(telling.leftovers(), { parents: 1, parentKeys: 1 });
  });

  it('is forgotten with its mdev, so that a driver that leaks all of them takes no memory for ever', () => {
    const telling = new Telling({}, { endedLives: 3 });
    const parent = telling.tell((story) => story.parent());
    for (let i = 0; i < 50; i++) {
      telling.tell((story) => removeKeepingVdev(story, story.create(parent)));
    }
    const { unfreed, vdevKeys } = telling.world;
    assert.ok(unfreed.size <= 6 && vdevKeys.size === unfreed.size, `${unfreed.size}`);
  });

  it('may serve another mdev when it has been freed', () => {
    const telling = new Telling();
    const parent = telling.tell((story) => story.parent());
    const first = telling.tell((story) => story.create(parent));
    telling.tell((story) => story.remove(first));
    telling.tell((story) => createIn(story, first, story.createEnters(parent)));
    const [second] = telling.world.devices;
    assert.equal(second.vfio, 'registered');
    assert.equal(telling.world.unfreed.size, 0);
  });
});

describe('a device that is registered a second time', () => {
  it('stays what it is when that is refused', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.bindPci('0000:01:00.0'));
    const device = telling.device(told.uuid);
    const registeredAt = device?.registeredAt;
    telling.tell((story) => registers(story, told, { error: 16 }));
    assert.equal(telling.device(told.uuid), device);
    assert.deepEqual([device?.vfio, device?.registeredAt], ['registered', registeredAt]);
    assert.equal(telling.world.groups.get(told.groupId)?.devices.size, 1);
  });
});

describe('a group', () => {
  it('is closed until it is opened anew', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.create(story.parent()));
    const group = telling.world.groups.get(told.groupId);
    telling.tell((story) => closeGroup(story, told));
    assert.ok(group && group.closedAt > 0);
    telling.raw('vfio.group.open:end', { groupId: told.groupId, ret: -16 });
    assert.ok(group.closedAt > 0);
    telling.tell((story) => openGroup(story, told));
    assert.equal(group.closedAt, 0);
  });
});

describe('a kernel module that is to go', () => {
  it('is named also when the call returns, to whom it belongs', () => {
    const telling = new Telling();
    const named: (string | undefined)[] = [];
    telling.sink = ({ module }) => named.push(module);
    for (const [pid, device] of [
      [1, 'mtty'],
      [2, 'vfio_pci'],
    ] as const) {
      telling.raw('module.unload:begin', { pid, names: { device } });
    }
    telling.raw('module.unload:end', { pid: 1, ret: -11 });
    telling.raw('module.unload:end', { pid: 2 });
    telling.raw('module.unload:end', { pid: 3 });
    assert.deepEqual(named, ['mtty', 'vfio_pci', 'mtty', 'vfio_pci', undefined]);
    assert.deepEqual(telling.leftovers(), {});
  });
});

describe('a state that is not sure', () => {
  it('is so from the first loss that no look has put right', () => {
    const telling = new Telling();
    telling.tell((story) => story.wait(1));
    const { now } = telling.world;
    telling.lose();
    telling.tell((story) => story.wait(3));
    telling.lose();
    const { isTainted, taintedSince, losses } = telling.world;
    assert.deepEqual([isTainted, taintedSince, losses], [true, now, 2]);
  });
});
