import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Telling } from '../rules/telling.ts';
import type { ToldDevice } from '../rules/told.ts';

const ADDRESS = '0000:01:00.0';
const LIBVIRT = { pid: 800, comm: 'libvirtd' };
const EBUSY = 16;

function pciFields({ key, openCount, groupId }: ToldDevice) {
  const names = { device: ADDRESS, bus: 'pci', driver: 'vfio-pci' };
  return { dev: key, vdev: key, openCount, groupId, names };
}

describe('a device file', () => {
  it('is opening, open, closing and closed, and known by its caller', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.create(story.parent()));
    const device = telling.device(told.uuid);
    assert.ok(device);
    const opening = telling.tell((story) => story.openBegins(told, { as: LIBVIRT }));
    const [open] = device.opens;
    assert.deepEqual([open.state, open.task.pid, open.task.comm], ['opening', 800, 'libvirtd']);
    assert.equal(device.state, 'bound');

    telling.tell((story) => story.openEnds(opening));
    assert.deepEqual([open.state, open.fd, device.state], ['open', 20, 'open']);

    telling.raw('vfio.device.close:begin', { ...pciFields(told), file: opening.key });
    assert.deepEqual([open.state, device.state], ['closing', 'open']);
    telling.raw('vfio.device.close:end', { dev: told.key, file: opening.key, openCount: 0 });
    assert.deepEqual([open.state, device.state, device.opens], ['closed', 'bound', []]);
    assert.ok(open.closedAt > open.closeBegan && open.closeBegan > open.openedAt);
  });

  it('is forgotten when it could not be opened', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.create(story.parent()));
    const opening = telling.tell((story) => story.openBegins(told));
    const open = telling.device(told.uuid)?.opens[0];
    telling.tell((story) => story.openEnds(opening, { error: EBUSY }));
    const device = telling.device(told.uuid);
    assert.deepEqual([open?.state, open?.error], ['failed', EBUSY]);
    assert.deepEqual([device?.state, device?.opens, device?.opensTotal], ['bound', [], 0]);
    assert.equal(telling.world.openKeys.size, 0);
    assert.equal(telling.world.fetching.size, 0);
  });

  it('is one of several, of which the last one closed leaves the device bound', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.create(story.parent()));
    const [first, second] = telling.tell((story) => [story.open(told), story.open(told)]);
    const device = telling.device(told.uuid);
    assert.deepEqual([device?.openCount, device?.opens.length], [2, 2]);
    telling.tell((story) => story.close(first));
    assert.deepEqual([device?.state, device?.openCount, device?.opens.length], ['open', 1, 1]);
    telling.tell((story) => story.close(second));
    assert.equal(device?.state, 'bound');
  });

  it('ties the device to the VM of its group until the last close', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.create(story.parent()));
    const vm = telling.tell((story) => story.createVm());
    const device = telling.device(told.uuid);
    const open = telling.tell((story) => story.open(told, { vm }));
    const known = telling.onlyVm();
    assert.deepEqual([device?.vm === known, device?.opens[0].vm === known], [true, true]);
    assert.deepEqual([...known.devices], [device]);
    telling.tell((story) => story.close(open));
    assert.deepEqual([device?.vm, known.devices.size], [undefined, 0]);
  });

  it('opened while the device is being created leaves it open when that is done', () => {
    const telling = new Telling();
    const creation = telling.tell((story) => story.createBegins(story.parent()));
    telling.tell((story) => story.open(creation.device));
    assert.equal(telling.device(creation.device.uuid)?.state, 'creating');
    telling.tell((story) => story.createEnds(creation));
    assert.equal(telling.device(creation.device.uuid)?.state, 'open');
  });
});

describe('the life of a PCI device', () => {
  it('goes from bound over open to removing and released', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.bindPci(ADDRESS));
    const device = telling.device(ADDRESS);
    assert.ok(device);
    assert.deepEqual(
      [device.state, device.bus, device.driver, device.groupId, device.isMdev],
      ['bound', 'pci', 'vfio-pci', told.groupId, false],
    );
    assert.ok(device.registeredAt > 0);
    const open = telling.tell((story) => story.open(told));
    assert.equal(device.state, 'open');
    telling.tell((story) => story.unbindPciBegins(told));
    assert.deepEqual([device.state, device.isWaiting], ['removing', true]);
    telling.tell((story) => story.close(open));
    assert.deepEqual([device.state, device.isWaiting], ['removing', false]);
    telling.raw('vfio.unregister:end', pciFields(told));
    telling.raw('vfio.release:begin', pciFields(told));
    assert.equal(device.state, 'released');
    assert.deepEqual(telling.world.endedDevices.list(), [device]);
    assert.deepEqual(telling.leftovers(), {});
  });

  it('ends as failed when its registration fails', () => {
    const telling = new Telling();
    const names = { device: ADDRESS, bus: 'pci' };
    telling.raw('vfio.register:begin', { dev: 1, vdev: 2, names });
    telling.raw('vfio.register:end', { dev: 1, vdev: 2, ret: -EBUSY });
    telling.raw('vfio.release:begin', { dev: 1, vdev: 2, names });
    assert.equal(telling.world.endedDevices.list()[0].state, 'failed');
    assert.deepEqual(telling.leftovers(), {});
  });

  it('begins anew when the device is bound again', () => {
    const telling = new Telling();
    const first = telling.tell((story) => story.bindPci(ADDRESS));
    telling.raw('vfio.unregister:begin', pciFields(first));
    telling.raw('vfio.unregister:end', pciFields(first));
    telling.raw('vfio.release:begin', pciFields(first));
    telling.tell((story) => story.bindPci(ADDRESS));
    const [ended] = telling.world.endedDevices.list();
    const device = telling.device(ADDRESS);
    assert.ok(device && ended);
    assert.notEqual(device.serial, ended.serial);
    assert.deepEqual([device.state, device.adopted], ['bound', false]);
  });

  it('begins anew even when the end of the life before was missed', () => {
    const telling = new Telling();
    telling.raw('vfio.register:begin', { dev: 1, vdev: 2, names: { device: ADDRESS } });
    telling.raw('vfio.register:end', { dev: 1, vdev: 2, groupId: 3 });
    telling.raw('vfio.register:begin', { dev: 1, vdev: 4, names: { device: ADDRESS } });
    telling.raw('vfio.register:end', { dev: 1, vdev: 4, groupId: 3 });
    assert.deepEqual(telling.leftovers(), {
      devices: 1,
      groups: 1,
      devicesByName: 1,
      deviceKeys: 1,
      vdevKeys: 1,
    });
    assert.equal(telling.world.endedDevices.list()[0].state, 'released');
  });
});

describe('an IOMMU group', () => {
  it('knows its VM from set_kvm until it is cleared', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.create(story.parent()));
    const vm = telling.tell((story) => story.createVm());
    telling.tell((story) => story.setKvm(told, vm));
    const group = telling.world.groups.get(told.groupId);
    assert.equal(group?.vm, telling.onlyVm());
    telling.tell((story) => story.clearKvm(told));
    assert.deepEqual([group?.vm, group?.clearedByExitAt], [undefined, 0]);
    assert.equal(telling.world.groups.size, 1, 'the device is still in it');
  });

  it('notes when a process on its way out took its VM away', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.create(story.parent()));
    telling.tell((story) => story.setKvm(told, story.createVm()));
    telling.tell((story) => story.clearKvm(told, { exiting: true }));
    const group = telling.world.groups.get(told.groupId);
    assert.ok((group?.clearedByExitAt ?? 0) > 0);
    telling.tell((story) => story.setKvm(told, story.createVm()));
    assert.equal(group?.clearedByExitAt, 0);
  });

  it('tells all its devices about its VM', () => {
    const telling = new Telling();
    for (const dev of [1, 2]) {
      telling.raw('vfio.register:begin', { dev, vdev: dev, names: { device: `d${dev}` } });
      telling.raw('vfio.register:end', { dev, vdev: dev, groupId: 9 });
    }
    const before = ['d1', 'd2'].map((name) => telling.device(name)?.timeline.entries().length ?? 0);
    telling.raw('vfio.group.set_kvm:begin', { groupId: 9, kvm: 5 });
    const after = ['d1', 'd2'].map((name) => telling.device(name)?.timeline.entries().length ?? 0);
    assert.deepEqual(
      after,
      before.map((count) => count + 1),
    );
  });

  it('is gone when its last device has left and its VM is cleared', () => {
    const telling = new Telling();
    telling.raw('vfio.group.set_kvm:begin', { groupId: 9, kvm: 5 });
    assert.equal(telling.world.groups.size, 1);
    telling.raw('vfio.group.set_kvm:begin', { groupId: 9 });
    assert.equal(telling.world.groups.size, 0);
  });
});
