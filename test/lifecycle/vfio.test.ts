import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { entryText } from '../../src/engine/evidence.ts';
import type { ScenarioDevice } from '../../src/scenario/types.ts';
import { closeGroup, openGroup } from '../../src/scenario/vfio.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';

const ADDRESS = '0000:01:00.0';
const LIBVIRT = { pid: 800, comm: 'libvirtd' };
const EBUSY = 16;

function pciFields({ key, openCount, groupId }: ScenarioDevice) {
  const names = { device: ADDRESS, bus: 'pci', driver: 'vfio-pci' };
  return { dev: key, vdev: key, openCount, groupId, names };
}

describe('an open device file', () => {
  it('passes from opening through open and closing to closed, and has the task that opened it', () => {
    const runner = new ScenarioRunner();
    const mdev = runner.run((scenario) => scenario.create(scenario.parent()));
    const device = runner.device(mdev.uuid);
    assert.ok(device);
    const opening = runner.run((scenario) => scenario.openBegins(mdev, { as: LIBVIRT }));
    const [open] = device.opens;
    assert.deepEqual([open.state, open.task.pid, open.task.comm], ['opening', 800, 'libvirtd']);
    assert.equal(device.state, 'bound');

    runner.run((scenario) => scenario.openEnds(opening));
    assert.deepEqual([open.state, open.fd, device.state], ['open', 20, 'open']);

    runner.raw('vfio.device.close:begin', { ...pciFields(mdev), file: opening.key });
    assert.deepEqual([open.state, device.state], ['closing', 'open']);
    runner.raw('vfio.device.close:end', { dev: mdev.key, file: opening.key, openCount: 0 });
    assert.deepEqual([open.state, device.state, device.opens], ['closed', 'bound', []]);
    assert.ok(open.closedAt > open.closeBegan && open.closeBegan > open.openedAt);
  });

  it('ends as failed when its open fails', () => {
    const runner = new ScenarioRunner();
    const mdev = runner.run((scenario) => scenario.create(scenario.parent()));
    const opening = runner.run((scenario) => scenario.openBegins(mdev));
    const open = runner.device(mdev.uuid)?.opens[0];
    runner.run((scenario) => scenario.openEnds(opening, { error: EBUSY }));
    const device = runner.device(mdev.uuid);
    assert.deepEqual([open?.state, open?.error], ['failed', EBUSY]);
    assert.deepEqual([device?.state, device?.opens, device?.opensTotal], ['bound', [], 0]);
    assert.equal(runner.world.opens.size, 0);
    assert.equal(runner.world.calls.size, 0);
  });

  it('is one of several, of which the last one closed leaves the device bound', () => {
    const runner = new ScenarioRunner();
    const mdev = runner.run((scenario) => scenario.create(scenario.parent()));
    const [first, second] = runner.run((scenario) => [scenario.open(mdev), scenario.open(mdev)]);
    const device = runner.device(mdev.uuid);
    assert.deepEqual([device?.openCount, device?.opens.length], [2, 2]);
    runner.run((scenario) => scenario.close(first));
    assert.deepEqual([device?.state, device?.openCount, device?.opens.length], ['open', 1, 1]);
    runner.run((scenario) => scenario.close(second));
    assert.equal(device?.state, 'bound');
  });

  it('gives the device the VM of its group until the last close', () => {
    const runner = new ScenarioRunner();
    const mdev = runner.run((scenario) => scenario.create(scenario.parent()));
    const vm = runner.run((scenario) => scenario.createVm());
    const device = runner.device(mdev.uuid);
    const open = runner.run((scenario) => scenario.open(mdev, { vm }));
    const known = runner.onlyVm();
    assert.deepEqual([device?.vm === known, device?.opens[0].vm === known], [true, true]);
    assert.deepEqual(known.devices, [device]);
    runner.run((scenario) => scenario.close(open));
    assert.deepEqual([device?.vm, known.devices.length], [undefined, 0]);
  });

  it('of a device that is being created leaves it open when the create returns', () => {
    const runner = new ScenarioRunner();
    const creation = runner.run((scenario) => scenario.createBegins(scenario.parent()));
    runner.run((scenario) => scenario.open(creation.device));
    assert.equal(runner.device(creation.device.uuid)?.state, 'creating');
    runner.run((scenario) => scenario.createEnds(creation));
    assert.equal(runner.device(creation.device.uuid)?.state, 'open');
  });
});

describe('the lifecycle of a PCI device', () => {
  it('passes from bound through open and removing to released', () => {
    const runner = new ScenarioRunner();
    const pci = runner.run((scenario) => scenario.bindPci(ADDRESS));
    const device = runner.device(ADDRESS);
    assert.ok(device);
    assert.deepEqual(
      [device.state, device.bus, device.driver, device.groupId, device.isMdev],
      ['bound', 'pci', 'vfio-pci', pci.groupId, false],
    );
    assert.ok(device.registeredAt > 0);
    const open = runner.run((scenario) => scenario.open(pci));
    assert.equal(device.state, 'open');
    runner.run((scenario) => scenario.unbindPciBegins(pci));
    assert.deepEqual([device.state, device.isWaiting], ['removing', true]);
    runner.run((scenario) => scenario.close(open));
    assert.deepEqual([device.state, device.isWaiting], ['removing', false]);
    runner.raw('vfio.unregister:end', pciFields(pci));
    runner.raw('vfio.release:begin', pciFields(pci));
    runner.raw('vfio.release:end', pciFields(pci));
    assert.equal(device.state, 'released');
    assert.deepEqual(runner.world.devices.ended.list(), [device]);
    assert.deepEqual(runner.leftovers(), {});
  });

  it('ends as failed when its registration fails', () => {
    const runner = new ScenarioRunner();
    const names = { device: ADDRESS, bus: 'pci' };
    runner.raw('vfio.register:begin', { dev: 1, vdev: 2, names });
    runner.raw('vfio.register:end', { dev: 1, vdev: 2, ret: -EBUSY });
    runner.raw('vfio.release:begin', { dev: 1, vdev: 2, names });
    runner.raw('vfio.release:end', { dev: 1, vdev: 2 });
    assert.equal(runner.world.devices.ended.list()[0].state, 'failed');
    assert.deepEqual(runner.leftovers(), {});
  });

  it('begins again when the device is bound again', () => {
    const runner = new ScenarioRunner();
    const first = runner.run((scenario) => scenario.bindPci(ADDRESS));
    runner.raw('vfio.unregister:begin', pciFields(first));
    runner.raw('vfio.unregister:end', pciFields(first));
    runner.raw('vfio.release:begin', pciFields(first));
    runner.run((scenario) => scenario.bindPci(ADDRESS));
    const [ended] = runner.world.devices.ended.list();
    const device = runner.device(ADDRESS);
    assert.ok(device && ended);
    assert.notEqual(device.serial, ended.serial);
    assert.deepEqual([device.state, device.adopted], ['bound', false]);
  });

  it('begins again even if the end of the previous one was missed', () => {
    const runner = new ScenarioRunner();
    runner.raw('vfio.register:begin', { dev: 1, vdev: 2, names: { device: ADDRESS } });
    runner.raw('vfio.register:end', { dev: 1, vdev: 2, groupId: 3 });
    runner.raw('vfio.register:begin', { dev: 1, vdev: 4, names: { device: ADDRESS } });
    runner.raw('vfio.register:end', { dev: 1, vdev: 4, groupId: 3 });
    assert.deepEqual(runner.leftovers(), {
      devices: 1,
      'devices indexed': 2,
      groups: 1,
      vdevKeys: 1,
    });
    assert.equal(runner.world.devices.ended.list()[0].state, 'released');
  });
});

describe('an IOMMU group', () => {
  it('has its VM from set_kvm until that is cleared', () => {
    const runner = new ScenarioRunner();
    const mdev = runner.run((scenario) => scenario.create(scenario.parent()));
    const vm = runner.run((scenario) => scenario.createVm());
    runner.run((scenario) => scenario.setKvm(mdev, vm));
    const group = runner.world.groups.get(mdev.groupId);
    assert.equal(group?.vm, runner.onlyVm());
    runner.run((scenario) => scenario.clearKvm(mdev));
    assert.equal(group?.vm, undefined);
    assert.equal(runner.world.groups.size, 1, 'the device is still in it');
  });

  it('adds set_kvm to the timelines of all its devices', () => {
    const runner = new ScenarioRunner();
    for (const dev of [1, 2]) {
      runner.raw('vfio.register:begin', { dev, vdev: dev, names: { device: `d${dev}` } });
      runner.raw('vfio.register:end', { dev, vdev: dev, groupId: 9 });
    }
    const before = ['d1', 'd2'].map((name) => runner.device(name)?.timeline.entries().length ?? 0);
    runner.raw('vfio.group.set_kvm:begin', { groupId: 9, kvm: 5 });
    const after = ['d1', 'd2'].map((name) => runner.device(name)?.timeline.entries().length ?? 0);
    assert.deepEqual(
      after,
      before.map((count) => count + 1),
    );
  });

  it('adds its opens, refused ones as well, and its close to the timelines of its devices', () => {
    const runner = new ScenarioRunner();
    const device = runner.run((scenario) => scenario.bindPci(ADDRESS));
    const before = runner.device(ADDRESS)?.timeline.entries().length;
    runner.run((scenario) => {
      openGroup(scenario, device, { as: { pid: 700, comm: 'owner' } });
      scenario.groupOpenFails(device, EBUSY, { as: { pid: 701, comm: 'intruder' } });
      closeGroup(scenario, device, { as: { pid: 700, comm: 'owner' }, container: false });
    });
    const added = runner.device(ADDRESS)?.timeline.entries().slice(before) ?? [];
    assert.deepEqual(
      added.map((entry) => `${entry.comm} ${entryText(entry)}`),
      [
        'owner vfio.group.open begin',
        'owner vfio.group.open end',
        'intruder vfio.group.open begin',
        'intruder vfio.group.open end  = -EBUSY',
        'owner vfio.group.close begin',
      ],
    );
  });

  it('is dropped when it has no devices and its VM is cleared', () => {
    const runner = new ScenarioRunner();
    runner.raw('vfio.group.set_kvm:begin', { groupId: 9, kvm: 5 });
    assert.equal(runner.world.groups.size, 1);
    runner.raw('vfio.group.set_kvm:begin', { groupId: 9 });
    assert.equal(runner.world.groups.size, 0);
  });
});
