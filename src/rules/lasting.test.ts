/** That what the rules call lasting also ends, when its cause does. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from './catalogue.ts';
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
    assert.deepEqual(telling.changes, ['raised v1', 'repeated v1']);
    assert.equal(telling.violations()[0].severity, 'error');
    telling.tell((story) => {
      story.close(open);
      story.removeEnds(removal);
      story.wait(10);
    });
    assert.deepEqual(telling.changes, ['raised v1', 'repeated v1', 'resolved v1']);
  });

  it('vm-pinned-by-device: when the device is closed', () => {
    const telling = tellingOf('vm-pinned-by-device');
    const vm = telling.tell((story) => story.createVm());
    const open = telling.tell((story) => story.open(story.create(story.parent()), { vm }));
    telling.tell((story) => {
      story.closeVm(vm);
      story.wait(70);
    });
    assert.deepEqual(telling.changes, ['raised v1', 'repeated v1']);
    telling.tell((story) => {
      story.close(open);
      story.wait(10);
    });
    assert.deepEqual(telling.changes, ['raised v1', 'repeated v1', 'resolved v1']);
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
