import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Cdev, Device } from '../../src/lifecycle/objects.ts';
import {
  attachCdev,
  bindCdev,
  bindCdevFails,
  closeCdev,
  detachCdev,
  openCdev,
  setCdevKvm,
} from '../../src/scenario/cdev.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';

const EBUSY = 16;
const ENODEV = 19;
const ENOENT = 2;
const SHIM = { pid: 700, comm: 'kata-shim' };
const QEMU = { pid: 800, comm: 'qemu' };
const LAUNCHER = { pid: 900, comm: 'launcher' };

function onlyCdev({ cdevs }: Device): Cdev {
  assert.equal(cdevs.length, 1);
  return cdevs[0];
}

describe('the lifecycle of a device cdev', () => {
  function created() {
    const runner = new ScenarioRunner();
    const made = runner.run((scenario) => scenario.create(scenario.parent()));
    const device = runner.device(made.uuid) as Device;
    return { runner, made, device };
  }

  it('passes from unbound through bound and attached to closed', () => {
    const { runner, made, device } = created();
    const file = runner.run((scenario) => openCdev(scenario, made));
    const cdev = onlyCdev(device);
    assert.deepEqual([cdev.state, cdev.adopted, cdev.isBound], ['unbound', false, false]);
    assert.ok(cdev.openedAt > cdev.firstSeen);
    assert.deepEqual([device.state, device.openCount, device.opens.length], ['bound', 0, 0]);

    runner.run((scenario) => bindCdev(scenario, file));
    assert.deepEqual([cdev.state, cdev.isBound], ['bound', true]);
    assert.deepEqual([device.state, device.openCount, device.opens.length], ['open', 1, 1]);

    runner.run((scenario) => attachCdev(scenario, file));
    assert.deepEqual([cdev.state, cdev.isBound], ['attached', true]);
    runner.run((scenario) => detachCdev(scenario, file));
    assert.equal(cdev.state, 'bound');
    runner.run((scenario) => attachCdev(scenario, file));

    runner.run((scenario) => closeCdev(scenario, file));
    assert.deepEqual([cdev.state, cdev.isOver], ['closed', true]);
    assert.deepEqual([device.state, device.openCount, device.cdevs], ['bound', 0, []]);
    runner.run((scenario) => scenario.remove(made));
    assert.deepEqual(runner.leftovers(), { parents: 1, 'parents indexed': 2 });
  });

  it('may be opened, bound and closed by three processes', () => {
    const { runner, made, device } = created();
    const file = runner.run((scenario) => openCdev(scenario, made, { as: SHIM }));
    runner.run((scenario) => bindCdev(scenario, file, { as: QEMU }));
    const cdev = onlyCdev(device);
    assert.deepEqual([cdev.opener.pid, cdev.binder?.pid], [SHIM.pid, QEMU.pid]);
    assert.equal(device.opens[0].task.pid, QEMU.pid);
    runner.run((scenario) => closeCdev(scenario, file, { as: LAUNCHER }));
    assert.deepEqual([cdev.state, device.opens.length], ['closed', 0]);
  });

  it('keeps its device registered while it is not bound', () => {
    const { runner, made, device } = created();
    const file = runner.run((scenario) => openCdev(scenario, made));
    const removal = runner.run((scenario) => scenario.removeBegins(made));
    assert.deepEqual([device.openCount, onlyCdev(device).state], [0, 'unbound']);
    runner.run((scenario) => closeCdev(scenario, file));
    runner.run((scenario) => scenario.removeEnds(removal));
    assert.deepEqual(runner.leftovers(), { parents: 1, 'parents indexed': 2 });
  });

  it('is over when its open fails', () => {
    const { runner, made, device } = created();
    runner.run((scenario) => openCdev(scenario, made, { error: ENODEV }));
    assert.deepEqual([device.cdevs, runner.world.cdevs.size], [[], 0]);
  });

  it('stays unbound when a bind fails, and bound when an attach fails', () => {
    const { runner, made, device } = created();
    const file = runner.run((scenario) => openCdev(scenario, made));
    const cdev = onlyCdev(device);
    runner.run((scenario) => bindCdevFails(scenario, file, EBUSY, { at: 'group' }));
    assert.deepEqual([cdev.state, cdev.bindError, cdev.binder], ['unbound', EBUSY, undefined]);
    runner.run((scenario) => bindCdev(scenario, file));
    runner.run((scenario) => attachCdev(scenario, file, { error: ENOENT }));
    assert.deepEqual([cdev.state, cdev.attachError], ['bound', ENOENT]);
  });

  it('has the VM that kvm-vfio set, which its device captures when it is bound', () => {
    const { runner, made, device } = created();
    const vm = runner.run((scenario) => scenario.createVm());
    const file = runner.run((scenario) => openCdev(scenario, made));
    runner.run((scenario) => setCdevKvm(scenario, file, vm));
    const cdev = onlyCdev(device);
    assert.deepEqual([cdev.vm, device.vm], [runner.onlyVm(), undefined]);
    assert.ok(cdev.vmSetAt > 0);
    runner.run((scenario) => bindCdev(scenario, file));
    assert.equal(device.vm, runner.onlyVm());
    runner.run((scenario) => setCdevKvm(scenario, file));
    assert.deepEqual([cdev.vm, device.vm], [undefined, runner.onlyVm()]);
  });

  it('is adopted by the first event about it that is observed', () => {
    const { runner, made, device } = created();
    const fields = { dev: made.key, vdev: made.key, openCount: 0, file: 77 };
    runner.raw('vfio.cdev.attach:end', { ...fields, ret: 0 });
    const cdev = onlyCdev(device);
    assert.deepEqual([cdev.state, cdev.adopted, cdev.openedAt], ['attached', true, 0]);
    runner.raw('vfio.cdev.close:begin', fields);
    assert.equal(cdev.state, 'closing');
    runner.raw('vfio.cdev.close:end', fields);
    assert.deepEqual([cdev.state, device.cdevs], ['closed', []]);
  });

  it('is superseded by another that has its address', () => {
    const { runner, made, device } = created();
    const file = runner.run((scenario) => openCdev(scenario, made));
    const [first] = device.cdevs;
    runner.raw('vfio.cdev.open:begin', { dev: made.key, vdev: made.key, openCount: 0 });
    runner.raw('vfio.cdev.open:end', { dev: made.key, vdev: made.key, file: file.key, ret: 0 });
    assert.deepEqual([first.state, device.cdevs.length], ['closed', 1]);
    assert.notEqual(device.cdevs[0], first);
  });
});
