/** Ongoing violations end when their cause does. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import {
  createUnregistered,
  lose,
  registers,
  removeKeepingVdev,
  removeReturns,
  unbindBegins,
  unregisterEnds,
} from '../../src/scenario/vfio.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';
import { applyAll, wholeSnapshot } from '../kit/snapshot-records.ts';

const BASH = { pid: 700, comm: 'bash' };

function runnerOf(id: string): ScenarioRunner {
  return new ScenarioRunner({ rules: RULES.filter((rule) => rule.id === id) });
}

describe('an ongoing violation is resolved', () => {
  it('remove-stall: when the opener closes the device', () => {
    const runner = runnerOf('remove-stall');
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const open = runner.run((scenario) => scenario.open(device));
    const removal = runner.run((scenario) => scenario.removeBegins(device, { as: BASH }));
    runner.run((scenario) => scenario.wait(70));
    assert.deepEqual(runner.changes, ['raised v1', 'escalated v1']);
    assert.equal(runner.violations()[0].severity, 'error');
    runner.run((scenario) => {
      scenario.close(open);
      scenario.removeEnds(removal);
      scenario.wait(10);
    });
    assert.deepEqual(runner.changes, ['raised v1', 'escalated v1', 'resolved v1']);
  });

  it('remove-stall: as one, when the driver returns that took long before it unregistered the device', () => {
    const runner = runnerOf('remove-stall');
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const removal = runner.run((scenario) => scenario.removeBegins(device, { idle: true }));
    runner.run((scenario) => {
      unbindBegins(scenario, removal);
      scenario.wait(11);
      scenario.event('vfio.unregister:begin', removal.task, { dev: device.key, vdev: device.key });
      unregisterEnds(scenario, device);
      removeReturns(scenario, removal);
      scenario.wait(1);
    });
    assert.deepEqual(runner.changes, ['raised v1', 'resolved v1']);
    assert.match(runner.violations()[0].conclusion ?? '', / took 11 s in the driver/);
  });

  it('vm-pinned-by-device: when the device is closed', () => {
    const runner = runnerOf('vm-pinned-by-device');
    const vm = runner.run((scenario) => scenario.createVm());
    const open = runner.run((scenario) =>
      scenario.open(scenario.create(scenario.parent()), { vm }),
    );
    runner.run((scenario) => {
      scenario.closeVm(vm);
      scenario.wait(70);
    });
    assert.deepEqual(runner.changes, ['raised v1', 'escalated v1']);
    runner.run((scenario) => {
      scenario.close(open);
      scenario.wait(10);
    });
    assert.deepEqual(runner.changes, ['raised v1', 'escalated v1', 'resolved v1']);
  });

  it('vm-pinned-by-device: for each device that is closed', () => {
    const runner = runnerOf('vm-pinned-by-device');
    const vm = runner.run((scenario) => scenario.createVm());
    const parent = runner.run((scenario) => scenario.parent());
    const opens = runner.run((scenario) =>
      [1, 2].map(() => scenario.open(scenario.create(parent), { vm })),
    );
    runner.run((scenario) => {
      scenario.closeVm(vm);
      scenario.wait(20);
      scenario.close(opens[0]);
      scenario.wait(20);
    });
    assert.equal(runner.engine.open().length, 1);
    assert.equal(runner.engine.open()[0].device, opens[1].device.uuid);
  });

  it('kvm-ref-leak: when the reference is put after all', () => {
    const runner = runnerOf('kvm-ref-leak');
    const vm = runner.run((scenario) => scenario.createVm());
    runner.run((scenario) => {
      scenario.getKvm(vm);
      scenario.closeVm(vm);
      scenario.exit(vm.task);
      scenario.wait(10);
    });
    assert.deepEqual(runner.changes, ['raised v1']);
    runner.raw('kvm.put:begin', { kvm: vm.key, usersCount: 1 });
    runner.raw('kvm.vm.destroy:begin', { kvm: vm.key, usersCount: 0 });
    assert.deepEqual(runner.changes, ['raised v1', 'resolved v1']);
  });

  it('remove-file-lost: when the parent takes the device with it', () => {
    const runner = runnerOf('remove-file-lost');
    const parent = runner.run((scenario) => scenario.parent());
    const device = runner.run((scenario) => scenario.create(parent));
    runner.run((scenario) => {
      scenario.removeEnds(scenario.removeBegins(device, { idle: true }), { error: 11 });
      scenario.wait(10);
    });
    assert.deepEqual(runner.changes, ['raised v1']);
    runner.run((scenario) => {
      const unregistering = scenario.parentUnregisterBegins(parent);
      scenario.childRemoved(unregistering, device);
      scenario.parentUnregisterEnds(unregistering);
      scenario.wait(10);
    });
    assert.deepEqual(runner.changes, ['raised v1', 'resolved v1']);
  });

  it('remove-stall: when the end of the device was missed', () => {
    const runner = runnerOf('remove-stall');
    const parent = runner.run((scenario) => scenario.parent());
    const device = runner.run((scenario) => scenario.create(parent));
    runner.run((scenario) => {
      scenario.open(device);
      scenario.removeBegins(device, { as: BASH });
      scenario.wait(15);
    });
    runner.lose();
    const names = { device: 'another', bus: 'mdev', parent: parent.name };
    runner.raw('mdev.create:begin', { parent: parent.key, names });
    runner.raw('mdev.probe:begin', { dev: device.key, parent: parent.key, names });
    runner.run((scenario) => scenario.wait(2));
    assert.deepEqual(runner.engine.open(), []);
  });
});

describe('an ongoing violation of the lifecycle of a vfio_device', () => {
  const states = (runner: ScenarioRunner) =>
    runner
      .violations()
      .map(({ rule, resolvedAt }) => `${rule} ${resolvedAt ? 'ended' : 'ongoing'}`);

  it('vfio-release-missing: outlasts its device, and ends when the vfio_device is freed after all', () => {
    const runner = runnerOf('vfio-release-missing');
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.run((scenario) => {
      removeKeepingVdev(scenario, device);
      scenario.wait(30);
    });
    assert.equal(runner.device(device.uuid), undefined);
    assert.deepEqual(runner.changes, ['raised v1']);
    runner.run((scenario) => scenario.freeVdev(device));
    assert.deepEqual(runner.changes, ['raised v1', 'resolved v1']);
    runner.run((scenario) => scenario.wait(10));
    assert.deepEqual(runner.changes, ['raised v1', 'resolved v1']);
  });

  it('vfio-release-missing: ends when events are lost, for the release may be among them', () => {
    const runner = runnerOf('vfio-release-missing');
    runner.run((scenario) => {
      removeKeepingVdev(scenario, scenario.create(scenario.parent()));
      scenario.wait(5);
      lose(scenario);
      scenario.wait(5);
    });
    assert.deepEqual(states(runner), ['vfio-release-missing ended']);
  });

  it('release-wait-stall: gives way to vfio-release-missing when the driver gives up waiting', () => {
    const runner = new ScenarioRunner({ rules: RULES });
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const removal = runner.run((scenario) => {
      const begun = scenario.removeBegins(device, { as: BASH });
      unregisterEnds(scenario, device, { as: BASH });
      scenario.wait(15);
      return begun;
    });
    assert.deepEqual(states(runner), ['release-wait-stall ongoing']);
    runner.run((scenario) => {
      removeReturns(scenario, removal);
      scenario.wait(15);
    });
    assert.deepEqual(states(runner), ['release-wait-stall ended', 'vfio-release-missing ongoing']);
  });

  it('vfio-never-registered: when it is registered late', () => {
    const runner = runnerOf('vfio-never-registered');
    const device = runner.run((scenario) =>
      createUnregistered(scenario, scenario.createEnters(scenario.parent())),
    );
    runner.run((scenario) => scenario.wait(10));
    assert.deepEqual(states(runner), ['vfio-never-registered ongoing']);
    runner.run((scenario) => registers(scenario, device));
    assert.deepEqual(states(runner), ['vfio-never-registered ended']);
  });
});

describe('an ongoing violation of operation', () => {
  it('request-ignored: when the VMM releases the device after all', () => {
    const runner = runnerOf('request-ignored');
    const device = runner.run((scenario) => scenario.bindPci('0000:01:00.0'));
    const open = runner.run((scenario) => scenario.open(device));
    runner.run((scenario) => {
      scenario.unbindPciBegins(device);
      scenario.wait(45);
    });
    assert.match(runner.violations()[0].message, / has been requesting its release for 45 s\./);
    runner.run((scenario) => {
      scenario.close(open);
      scenario.unbindPciEnds(device);
      scenario.wait(2);
    });
    assert.deepEqual(runner.changes, ['raised v1', 'resolved v1']);
  });

  it('open-count-mismatch: when both counts agree again', () => {
    const runner = runnerOf('open-count-mismatch');
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.run((scenario) => {
      const open = scenario.open(device);
      device.openCount++;
      scenario.close(open);
      scenario.wait(2);
    });
    assert.deepEqual(runner.changes, ['raised v1']);
    runner.run((scenario) => {
      device.openCount = 0;
      scenario.close(scenario.open(device));
      scenario.wait(2);
    });
    assert.deepEqual(runner.changes, ['raised v1', 'resolved v1']);
  });

  it('observer-gap: when a host snapshot has resynchronised the state, and not before', () => {
    const runner = runnerOf('observer-gap');
    runner.run((scenario) => {
      scenario.open(scenario.create(scenario.parent()), { vm: scenario.createVm() });
      lose(scenario);
      scenario.wait(2);
    });
    assert.match(runner.violations()[0].message, / once in the last 2\.0 s,/);
    const [begin, ...rest] = wholeSnapshot(runner.world);
    applyAll(runner.world, [begin]);
    runner.run((scenario) => {
      lose(scenario);
      scenario.wait(1);
    });
    applyAll(runner.world, rest);
    runner.run((scenario) => scenario.wait(1));
    assert.deepEqual(runner.changes, ['raised v1']);
    assert.match(runner.violations()[0].message, / once in the last 4\.0 s,/);
    applyAll(runner.world, wholeSnapshot(runner.world));
    runner.run((scenario) => scenario.wait(1));
    assert.deepEqual(runner.changes, ['raised v1', 'resolved v1']);
    runner.run((scenario) => {
      lose(scenario);
      scenario.wait(1);
    });
    assert.deepEqual(runner.changes, ['raised v1', 'resolved v1', 'raised v2']);
  });
});

describe('a VM whose process is gone', () => {
  it('is pinned, and not leaked, as long as a device is open for it', () => {
    const runner = new ScenarioRunner({ rules: RULES });
    runner.run((scenario) => {
      const vm = scenario.createVm();
      scenario.open(scenario.create(scenario.parent()), { vm });
      scenario.closeVm(vm);
      scenario.exit(vm.task);
      scenario.wait(20);
    });
    assert.deepEqual(
      runner.violations().map(({ rule }) => rule),
      ['vm-pinned-by-device'],
    );
  });
});
