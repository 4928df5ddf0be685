import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ScenarioRunner } from '../../test/kit/scenario-runner.ts';

const BASH = { pid: 700, comm: 'bash' };

describe('the adoption of an object by its first event', () => {
  const names = { device: 'late-uuid', bus: 'mdev', type: 't1', parent: 'p', driver: 'd' };

  it('adopts a device that was created before the agent started, and its parent', () => {
    const runner = new ScenarioRunner();
    runner.raw('mdev.remove:begin', { dev: 1, parent: 2, names });
    const device = runner.device('late-uuid');
    assert.ok(device);
    assert.deepEqual(
      [device.type, device.parentName, device.driver, runner.world.qualityOf(device)],
      ['t1', 'p', 'd', 'partial'],
    );
    assert.deepEqual([runner.onlyParent().name, runner.onlyParent().adopted], ['p', true]);
  });

  it('fills in what the first event does not contain', () => {
    const runner = new ScenarioRunner();
    const vfio = { ...names, type: '' };
    runner.raw('vfio.device.open:begin', { dev: 1, vdev: 3, file: 4, names: vfio });
    runner.raw('vfio.device.open:end', { dev: 1, vdev: 3, file: 4, openCount: 1 });
    const device = runner.device('late-uuid');
    assert.deepEqual([device?.type, device?.state, device?.parent], ['', 'open', undefined]);
    runner.raw('mdev.remove:begin', { dev: 1, parent: 2, names });
    assert.deepEqual([device?.type, device?.parent === runner.onlyParent()], ['t1', true]);
    assert.equal(runner.world.devices.size, 1);
  });

  it('adopts an open that existed before the agent started, when it is closed', () => {
    const runner = new ScenarioRunner();
    runner.raw('vfio.device.close:begin', { dev: 1, vdev: 3, file: 4, names, openCount: 1 });
    const [open] = runner.device('late-uuid')?.opens ?? [];
    assert.deepEqual([open.state, runner.world.qualityOf(open)], ['closing', 'partial']);
    runner.raw('vfio.device.close:end', { dev: 1, vdev: 3, file: 4, openCount: 0 });
    assert.equal(runner.world.opens.size, 0);
    assert.equal(runner.device('late-uuid')?.state, 'bound');
  });

  it('ignores an unknown device if the event contains no name', () => {
    const runner = new ScenarioRunner();
    runner.raw('mdev.unbind:end', { dev: 1 });
    runner.raw('vfio.unregister:end', { dev: 1, vdev: 2 });
    runner.raw('vfio.device.open:end', { dev: 1, vdev: 2, file: 3 });
    runner.raw('mdev.create:end', {});
    runner.raw('mdev.remove:end', {});
    assert.deepEqual(runner.leftovers(), {});
  });
});

describe('reused kernel addresses', () => {
  it('begin a new tracked object when the earlier device was released', () => {
    const runner = new ScenarioRunner();
    const parent = runner.run((scenario) => scenario.parent());
    const mdev = runner.run((scenario) => scenario.create(parent));
    const first = runner.device(mdev.uuid);
    runner.run((scenario) => scenario.remove(mdev));
    const names = { device: 'second', bus: 'mdev', type: 't', parent: parent.name };
    runner.raw('mdev.create:begin', { parent: parent.key, names });
    runner.raw('mdev.probe:begin', { dev: mdev.key, parent: parent.key, names });
    runner.raw('mdev.probe:end', { dev: mdev.key });
    runner.raw('mdev.create:end');
    const [second] = runner.world.devices;
    assert.ok(first && second);
    assert.notEqual(second.serial, first.serial);
    assert.deepEqual([first.state, second.state, second.adopted], ['released', 'bound', false]);
  });

  it('supersede a device whose release was missed', () => {
    const runner = new ScenarioRunner();
    const parent = runner.run((scenario) => scenario.parent());
    const mdev = runner.run((scenario) => scenario.create(parent));
    const names = { device: 'second', bus: 'mdev', type: 't', parent: parent.name };
    runner.raw('mdev.create:begin', { parent: parent.key, names });
    runner.raw('mdev.probe:begin', { dev: mdev.key, parent: parent.key, names });
    assert.deepEqual(
      runner.world.devices.ended.list().map(({ name, state }) => [name, state]),
      [[mdev.uuid, 'released']],
    );
    assert.equal(runner.device(mdev.uuid), undefined);
    assert.equal(runner.world.devices.size, 1);
  });

  it('leave no relations of a superseded device', () => {
    const runner = new ScenarioRunner();
    const parent = runner.run((scenario) => scenario.parent());
    const mdev = runner.run((scenario) => scenario.create(parent));
    const vm = runner.run((scenario) => scenario.createVm());
    runner.run((scenario) => scenario.open(mdev, { vm }));
    const names = { device: 'second', bus: 'mdev', type: 't', parent: parent.name };
    runner.raw('mdev.create:begin', { parent: parent.key, names });
    runner.raw('mdev.probe:begin', { dev: mdev.key, parent: parent.key, names });
    const { vdevKeys, opens } = runner.world;
    assert.deepEqual({ vdevs: vdevKeys.size, opens: opens.size }, { vdevs: 0, opens: 0 });
    assert.equal(runner.onlyVm().devices.length, 0);
  });
});

describe('losses', () => {
  it('make the objects that exist unverified, and no later ones', () => {
    const runner = new ScenarioRunner();
    const { world } = runner;
    const parent = runner.run((scenario) => scenario.parent());
    const before = runner.device(runner.run((scenario) => scenario.create(parent)).uuid);
    runner.run((scenario) => scenario.createVm());
    const vm = runner.onlyVm();
    assert.ok(before);
    assert.deepEqual([world.qualityOf(before), world.qualityOf(vm)], ['observed', 'observed']);
    runner.lose();
    const after = runner.device(runner.run((scenario) => scenario.create(parent)).uuid);
    assert.ok(after);
    assert.deepEqual(
      [before, vm, runner.onlyParent(), after].map((object) => world.qualityOf(object)),
      ['unverified', 'unverified', 'unverified', 'observed'],
    );
  });

  it('make a partial object unverified, too, while an object adopted later is partial', () => {
    const runner = new ScenarioRunner();
    runner.raw('kvm.get:begin', { kvm: 1 });
    runner.lose();
    runner.raw('kvm.get:begin', { kvm: 2 });
    assert.deepEqual(
      [...runner.world.vms].map((vm) => runner.world.qualityOf(vm)),
      ['unverified', 'partial'],
    );
  });
});

describe('World', () => {
  it('is empty after all objects have ended', () => {
    const runner = new ScenarioRunner();
    runner.run((scenario) => {
      const parent = scenario.parent();
      const vm = scenario.createVm();
      const device = scenario.create(parent);
      const opens = [scenario.open(device, { vm }), scenario.open(device, { vm })];
      scenario.createFails(parent, 22);
      const removal = scenario.removeBegins(device, { as: BASH });
      for (const open of opens) scenario.close(open);
      scenario.clearKvm(device);
      scenario.removeEnds(removal);
      scenario.closeVm(vm);
      const child = scenario.create(parent);
      const unregistering = scenario.parentUnregisterBegins(parent);
      scenario.childRemoved(unregistering, child);
      scenario.parentUnregisterEnds(unregistering);
    });
    assert.deepEqual(runner.leftovers(), {});
    assert.deepEqual(
      [runner.world.devices.ended.list().length, runner.world.vms.ended.list().length],
      [3, 1],
    );
  });

  it('keeps only the objects that ended most recently', () => {
    const runner = new ScenarioRunner({}, { endedObjects: 5 });
    const uuids: string[] = [];
    runner.run((scenario) => {
      const parent = scenario.parent();
      for (let i = 0; i < 23; i++) {
        const device = scenario.create(parent);
        uuids.push(device.uuid);
        scenario.remove(device);
        scenario.closeVm(scenario.createVm());
      }
    });
    const ended = runner.world.devices.ended.list();
    assert.deepEqual(
      ended.map(({ name }) => name),
      uuids.slice(-5),
    );
    assert.equal(runner.world.vms.ended.list().length, 5);
  });

  it('has the latest time of all events, even if one with an earlier time follows', () => {
    const runner = new ScenarioRunner();
    runner.raw('kvm.get:begin', { kvm: 1, time: 5000 });
    runner.raw('kvm.get:begin', { kvm: 1, time: 4000 });
    assert.equal(runner.world.now, 5000);
  });
});

it('the timelines of parents that ended are left to others', () => {
  const runner = new ScenarioRunner();
  const parents = Array.from({ length: 40 }, (_, i) => {
    const parent = runner.run((scenario) => scenario.parent({ name: `p${i}` }));
    const tracked = runner.world.parents.named(`p${i}`);
    runner.run((scenario) =>
      scenario.parentUnregisterEnds(scenario.parentUnregisterBegins(parent)),
    );
    return tracked;
  });
  const empty = parents.filter((parent) => parent?.timeline.entries().length === 0);
  assert.ok(empty.length >= 20, `${empty.length}`);
  assert.ok((parents.at(-1)?.timeline.entries().length ?? 0) > 0);
});
