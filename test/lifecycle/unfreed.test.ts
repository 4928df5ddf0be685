/** Rare ends: a vfio_device that outlives its mdev, failed registrations, module unloads. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  closeGroup,
  createIn,
  openGroup,
  registers,
  removeKeepingVdev,
} from '../../src/scenario/vfio.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';

describe('a vfio_device that outlives its mdev', () => {
  it('is tracked until it is freed, and its mdev records that', () => {
    const runner = new ScenarioRunner();
    const mdev = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.run((scenario) => removeKeepingVdev(scenario, mdev));
    const [device] = runner.world.unfreed;
    assert.deepEqual(
      [device.state, device.vfio, device.hasVdev],
      ['released', 'unregistered', true],
    );
    runner.run((scenario) => scenario.freeVdev(mdev));
    assert.deepEqual([device.vfio, device.hasVdev], ['released', false]);
    assert.equal(device.timeline.lastTime(), device.vdevReleasedAt);
    assert.deepEqual(runner.leftovers(), { parents: 1, 'parents indexed': 2 });
  });

  it('can be freed without affecting a new mdev at the address of its own', () => {
    const runner = new ScenarioRunner();
    const parent = runner.run((scenario) => scenario.parent());
    const first = runner.run((scenario) => scenario.create(parent));
    runner.run((scenario) => removeKeepingVdev(scenario, first));
    // Its vfio_device is elsewhere.
    const names = { device: 'second', bus: 'mdev', type: 't', parent: parent.name };
    runner.raw('mdev.create:begin', { parent: parent.key, names });
    runner.raw('mdev.probe:begin', { dev: first.key, parent: parent.key, names });
    runner.raw('vfio.init:begin', { dev: first.key, names });
    runner.raw('vfio.init:end', { dev: first.key, vdev: 77 });
    runner.raw('vfio.register_emulated:begin', { dev: first.key, vdev: 77, names });
    runner.raw('vfio.register_emulated:end', { dev: first.key, vdev: 77, groupId: 5 });
    runner.run((scenario) => scenario.freeVdev(first));
    const [second] = runner.world.devices;
    assert.deepEqual([second.vfio, second.vdevReleasedAt], ['registered', 0]);
    assert.equal(runner.world.unfreed.size, 0);
    // A second release of the same vfio_device has no device any more.
    runner.run((scenario) => scenario.freeVdev(first));
    assert.equal(second.vfio, 'registered');
  });

  it('is dropped when events are lost, because its release may be among them', () => {
    const runner = new ScenarioRunner();
    const mdev = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.run((scenario) => removeKeepingVdev(scenario, mdev));
    runner.lose();
    assert.deepEqual(runner.leftovers(), { parents: 1, 'parents indexed': 2 });
  });

  it('is dropped with its ended mdev, so that a driver that leaks them does not fill the memory', () => {
    const runner = new ScenarioRunner({}, { endedObjects: 3 });
    const parent = runner.run((scenario) => scenario.parent());
    for (let i = 0; i < 50; i++) {
      runner.run((scenario) => removeKeepingVdev(scenario, scenario.create(parent)));
    }
    const { unfreed, vdevKeys } = runner.world;
    assert.ok(unfreed.size <= 6 && vdevKeys.size === unfreed.size, `${unfreed.size}`);
  });

  it('may be initialised for another mdev after it was freed', () => {
    const runner = new ScenarioRunner();
    const parent = runner.run((scenario) => scenario.parent());
    const first = runner.run((scenario) => scenario.create(parent));
    runner.run((scenario) => scenario.remove(first));
    runner.run((scenario) => createIn(scenario, first, scenario.createEnters(parent)));
    const [second] = runner.world.devices;
    assert.equal(second.vfio, 'registered');
    assert.equal(runner.world.unfreed.size, 0);
  });
});

describe('a device that is registered a second time', () => {
  it('stays registered when the second registration fails', () => {
    const runner = new ScenarioRunner();
    const mdev = runner.run((scenario) => scenario.bindPci('0000:01:00.0'));
    const device = runner.device(mdev.uuid);
    const registeredAt = device?.registeredAt;
    runner.run((scenario) => registers(scenario, mdev, { error: 16 }));
    assert.equal(runner.device(mdev.uuid), device);
    assert.deepEqual([device?.vfio, device?.registeredAt], ['registered', registeredAt]);
    assert.equal(runner.world.groups.get(mdev.groupId)?.devices.length, 1);
  });
});

describe('a group', () => {
  it('is closed until it is opened again', () => {
    const runner = new ScenarioRunner();
    const mdev = runner.run((scenario) => scenario.create(scenario.parent()));
    const group = runner.world.groups.get(mdev.groupId);
    runner.run((scenario) => closeGroup(scenario, mdev));
    assert.ok(group && group.closedAt > 0);
    runner.raw('vfio.group.open:end', { groupId: mdev.groupId, ret: -16 });
    assert.ok(group.closedAt > 0);
    runner.run((scenario) => openGroup(scenario, mdev));
    assert.equal(group.closedAt, 0);
  });
});

describe('an attempt to unload a kernel module', () => {
  it('names the module at the end, too, for each of several concurrent calls', () => {
    const runner = new ScenarioRunner();
    const named: (string | undefined)[] = [];
    runner.sinks.push({ event: ({ module }) => named.push(module) });
    for (const [pid, device] of [
      [1, 'mtty'],
      [2, 'vfio_pci'],
    ] as const) {
      runner.raw('module.unload:begin', { pid, names: { device } });
    }
    runner.raw('module.unload:end', { pid: 1, ret: -11 });
    runner.raw('module.unload:end', { pid: 2 });
    runner.raw('module.unload:end', { pid: 3 });
    assert.deepEqual(named, ['mtty', 'vfio_pci', 'mtty', 'vfio_pci', undefined]);
    assert.deepEqual(runner.leftovers(), {});
  });
});

describe('an unverified state', () => {
  it('is unverified since the first loss that no host snapshot has reconciled', () => {
    const runner = new ScenarioRunner();
    runner.run((scenario) => scenario.wait(1));
    const { now } = runner.world;
    runner.lose();
    runner.run((scenario) => scenario.wait(3));
    runner.lose();
    const { isUnverified, unverifiedSince, losses } = runner.world;
    assert.deepEqual([isUnverified, unverifiedSince, losses], [true, now, 2]);
  });
});
