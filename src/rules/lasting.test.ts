/** That what the rules call lasting also ends, when its cause does. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from './catalogue.ts';
import { applyAll, wholeLook } from './looking.ts';
import {
  createUnregistered,
  lose,
  registers,
  removeKeepingVdev,
  removeReturns,
  unregisterEnds,
} from './story-vfio.ts';
import { Telling } from './telling.ts';

const BASH = { pid: 700, comm: 'bash' };

function tellingOf(id: string): Telling {
  return new Telling({ rules: RULES.filter((rule) => rule.id === id) });
}

describe('a lasting violation is resolved', () => {
  it('remove-stall: when the opener lets go', () => {
    const telling = tellingOf('remove-stall');
    const device = telling.tell((story) => story.create(story.parent()));
    const open = telling.tell((story) => story.open(device));
    const removal = telling.tell((story) => story.removeBegins(device, { as: BASH }));
    telling.tell((story) => story.wait(70));
    assert.deepEqual(telling.changes, ['raised v1', 'escalated v1']);
    assert.equal(telling.violations()[0].severity, 'error');
    telling.tell((story) => {
      story.close(open);
      story.removeEnds(removal);
      story.wait(10);
    });
    assert.deepEqual(telling.changes, ['raised v1', 'escalated v1', 'resolved v1']);
  });

  it('vm-pinned-by-device: when the device is closed', () => {
    const telling = tellingOf('vm-pinned-by-device');
    const vm = telling.tell((story) => story.createVm());
    const open = telling.tell((story) => story.open(story.create(story.parent()), { vm }));
    telling.tell((story) => {
      story.closeVm(vm);
      story.wait(70);
    });
    assert.deepEqual(telling.changes, ['raised v1', 'escalated v1']);
    telling.tell((story) => {
      story.close(open);
      story.wait(10);
    });
    assert.deepEqual(telling.changes, ['raised v1', 'escalated v1', 'resolved v1']);
  });

  it('vm-pinned-by-device: for each device that is closed', () => {
    const telling = tellingOf('vm-pinned-by-device');
    const vm = telling.tell((story) => story.createVm());
    const parent = telling.tell((story) => story.parent());
    const opens = telling.tell((story) =>
      [1, 2].map(() => story.open(story.create(parent), { vm })),
    );
    telling.tell((story) => {
      story.closeVm(vm);
      story.wait(20);
      story.close(opens[0]);
      story.wait(20);
    });
    assert.equal(telling.engine.open().length, 1);
    assert.equal(telling.engine.open()[0].device, opens[1].device.uuid);
  });

  it('kvm-ref-leak: when the reference is put after all', () => {
    const telling = tellingOf('kvm-ref-leak');
    const vm = telling.tell((story) => story.createVm());
    telling.tell((story) => {
      story.getKvm(vm);
      story.closeVm(vm);
      story.exit(vm.task);
      story.wait(10);
    });
    assert.deepEqual(telling.changes, ['raised v1']);
    telling.raw('kvm.put:begin', { kvm: vm.key, usersCount: 1 });
    telling.raw('kvm.vm.destroy:begin', { kvm: vm.key, usersCount: 0 });
    assert.deepEqual(telling.changes, ['raised v1', 'resolved v1']);
  });

  it('remove-file-lost: when the parent takes the device with it', () => {
    const telling = tellingOf('remove-file-lost');
    const parent = telling.tell((story) => story.parent());
    const device = telling.tell((story) => story.create(parent));
    telling.tell((story) => {
      story.removeEnds(story.removeBegins(device, { idle: true }), { error: 11 });
      story.wait(10);
    });
    assert.deepEqual(telling.changes, ['raised v1']);
    telling.tell((story) => {
      const unregistering = story.parentUnregisterBegins(parent);
      story.childRemoved(unregistering, device);
      story.parentUnregisterEnds(unregistering);
      story.wait(10);
    });
    assert.deepEqual(telling.changes, ['raised v1', 'resolved v1']);
  });

  it('remove-stall: when the end of the device was missed', () => {
    const telling = tellingOf('remove-stall');
    const parent = telling.tell((story) => story.parent());
    const device = telling.tell((story) => story.create(parent));
    telling.tell((story) => {
      story.open(device);
      story.removeBegins(device, { as: BASH });
      story.wait(15);
    });
    telling.lose();
    const names = { device: 'another', bus: 'mdev', parent: parent.name };
    telling.raw('mdev.create:begin', { parent: parent.key, names });
    telling.raw('mdev.probe:begin', { dev: device.key, parent: parent.key, names });
    telling.tell((story) => story.wait(2));
    assert.deepEqual(telling.engine.open(), []);
  });
});

describe('a lasting violation of the life of a vfio_device', () => {
  const told = (telling: Telling) =>
    telling.violations().map(({ rule, resolvedAt }) => `${rule} ${resolvedAt ? 'ended' : 'lasts'}`);

  it('vfio-release-missing: outlasts its device, and ends when the vfio_device is freed after all', () => {
    const telling = tellingOf('vfio-release-missing');
    const device = telling.tell((story) => story.create(story.parent()));
    telling.tell((story) => {
      removeKeepingVdev(story, device);
      story.wait(30);
    });
    assert.equal(telling.device(device.uuid), undefined);
    assert.deepEqual(telling.changes, ['raised v1']);
    telling.tell((story) => story.freeVdev(device));
    assert.deepEqual(telling.changes, ['raised v1', 'resolved v1']);
    telling.tell((story) => story.wait(10));
    assert.deepEqual(telling.changes, ['raised v1', 'resolved v1']);
  });

  it('vfio-release-missing: ends when events are lost, for the release may be among them', () => {
    const telling = tellingOf('vfio-release-missing');
    telling.tell((story) => {
      removeKeepingVdev(story, story.create(story.parent()));
      story.wait(5);
      lose(story);
      story.wait(5);
    });
    assert.deepEqual(told(telling), ['vfio-release-missing ended']);
  });

  it('release-wait-stall: gives way to vfio-release-missing when the driver gives up waiting', () => {
    const telling = new Telling({ rules: RULES });
    const device = telling.tell((story) => story.create(story.parent()));
    const removal = telling.tell((story) => {
      const begun = story.removeBegins(device, { as: BASH });
      unregisterEnds(story, device, { as: BASH });
      story.wait(15);
      return begun;
    });
    assert.deepEqual(told(telling), ['release-wait-stall lasts']);
    telling.tell((story) => {
      removeReturns(story, removal);
      story.wait(15);
    });
    assert.deepEqual(told(telling), ['release-wait-stall ended', 'vfio-release-missing lasts']);
  });

  it('vfio-never-registered: when it is registered late', () => {
    const telling = tellingOf('vfio-never-registered');
    const device = telling.tell((story) =>
      createUnregistered(story, story.createEnters(story.parent())),
    );
    telling.tell((story) => story.wait(10));
    assert.deepEqual(told(telling), ['vfio-never-registered lasts']);
    telling.tell((story) => registers(story, device));
    assert.deepEqual(told(telling), ['vfio-never-registered ended']);
  });
});

describe('a lasting violation of operation', () => {
  it('request-ignored: when the VMM lets go after all', () => {
    const telling = tellingOf('request-ignored');
    const device = telling.tell((story) => story.bindPci('0000:01:00.0'));
    const open = telling.tell((story) => story.open(device));
    telling.tell((story) => {
      story.unbindPciBegins(device);
      story.wait(45);
    });
    assert.match(telling.violations()[0].explanation, / asked for it 5 times in 45 s\./);
    telling.tell((story) => {
      story.close(open);
      story.unbindPciEnds(device);
      story.wait(2);
    });
    assert.deepEqual(telling.changes, ['raised v1', 'resolved v1']);
  });

  it('open-count-mismatch: when both counts agree again', () => {
    const telling = tellingOf('open-count-mismatch');
    const device = telling.tell((story) => story.create(story.parent()));
    telling.tell((story) => {
      const open = story.open(device);
      device.openCount++;
      story.close(open);
      story.wait(2);
    });
    assert.deepEqual(telling.changes, ['raised v1']);
    telling.tell((story) => {
      device.openCount = 0;
      story.close(story.open(device));
      story.wait(2);
    });
    assert.deepEqual(telling.changes, ['raised v1', 'resolved v1']);
  });

  it('observer-gap: when a look at the host has put the state right, and not before', () => {
    const telling = tellingOf('observer-gap');
    telling.tell((story) => {
      story.open(story.create(story.parent()), { vm: story.createVm() });
      lose(story);
      story.wait(2);
    });
    assert.match(telling.violations()[0].explanation, / once in the last 2\.0 s,/);
    const [begin, ...rest] = wholeLook(telling.world);
    applyAll(telling.world, [begin]);
    telling.tell((story) => {
      lose(story);
      story.wait(1);
    });
    applyAll(telling.world, rest);
    telling.tell((story) => story.wait(1));
    assert.deepEqual(telling.changes, ['raised v1']);
    assert.match(telling.violations()[0].explanation, / once in the last 4\.0 s,/);
    applyAll(telling.world, wholeLook(telling.world));
    telling.tell((story) => story.wait(1));
    assert.deepEqual(telling.changes, ['raised v1', 'resolved v1']);
    telling.tell((story) => {
      lose(story);
      story.wait(1);
    });
    assert.deepEqual(telling.changes, ['raised v1', 'resolved v1', 'raised v2']);
  });
});

describe('a VM whose process is gone', () => {
  it('is pinned, and not leaked, as long as a device is open for it', () => {
    const telling = new Telling({ rules: RULES });
    telling.tell((story) => {
      const vm = story.createVm();
      story.open(story.create(story.parent()), { vm });
      story.closeVm(vm);
      story.exit(vm.task);
      story.wait(20);
    });
    assert.deepEqual(
      telling.violations().map(({ rule }) => rule),
      ['vm-pinned-by-device'],
    );
  });
});
