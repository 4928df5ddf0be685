import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Telling } from '../rules/telling.ts';

const ENOMEM = 12;

describe('the life of a VM', () => {
  it('goes from creating over running to destroyed', () => {
    const telling = new Telling();
    telling.raw('kvm.vm.create:begin');
    telling.raw('kvm.vm.init:begin', { kvm: 7, usersCount: 1 });
    const vm = telling.onlyVm();
    assert.deepEqual([vm.state, vm.task?.pid, vm.makerTid], ['creating', 500, 500]);
    telling.raw('kvm.vm.init:end', { kvm: 7, usersCount: 1 });
    telling.raw('kvm.vm.create:end', { ret: 11 });
    assert.deepEqual([vm.state, vm.fd, vm.users, vm.adopted], ['running', 11, 1, false]);
    assert.ok(vm.createdAt > vm.firstSeen);

    telling.raw('kvm.vm.fd_close:begin', { kvm: 7, usersCount: 1 });
    assert.equal(vm.state, 'released');
    telling.raw('kvm.put:begin', { kvm: 7, usersCount: 1 });
    assert.equal(vm.users, 0);
    telling.raw('kvm.vm.destroy:begin', { kvm: 7, usersCount: 0 });
    assert.deepEqual([vm.state, vm.isOver, vm.destroyedAt], ['destroyed', true, 0]);
    telling.raw('kvm.vm.destroy:end', { kvm: 7 });
    assert.ok(vm.destroyedAt > vm.destroyBegan);
    assert.deepEqual(telling.world.endedVms.list(), [vm]);
    assert.deepEqual(telling.leftovers(), {});
  });

  it('counts its references as the kernel does', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.createVm());
    const vm = telling.onlyVm();
    telling.tell((story) => story.getKvm(told));
    assert.equal(vm.users, 2);
    const device = telling.tell((story) => story.create(story.parent()));
    const open = telling.tell((story) => story.open(device, { vm: told }));
    assert.equal(vm.users, 3);
    telling.tell((story) => story.close(open));
    assert.equal(vm.users, 2);
    assert.equal(vm.users, told.users);
  });

  it('lives on as released while something holds it', () => {
    const telling = new Telling();
    const told = telling.tell((story) => story.createVm());
    const device = telling.tell((story) => story.create(story.parent()));
    const open = telling.tell((story) => story.open(device, { vm: told }));
    const vm = telling.onlyVm();
    telling.tell((story) => story.closeVm(told));
    assert.deepEqual([vm.state, vm.users, vm.isOver], ['released', 1, false]);
    telling.tell((story) => story.close(open));
    assert.deepEqual([vm.state, vm.users], ['destroyed', 0]);
  });

  it('ends as failed when it could not be initialised', () => {
    const telling = new Telling();
    telling.raw('kvm.vm.init:begin', { kvm: 7, usersCount: 1 });
    telling.raw('kvm.vm.init:end', { kvm: 7, ret: -ENOMEM });
    telling.raw('kvm.vm.create:end', { ret: -ENOMEM });
    assert.deepEqual(
      telling.world.endedVms.list().map(({ state }) => state),
      ['failed'],
    );
    assert.deepEqual(telling.leftovers(), {});
  });

  it('ends as failed when it got no file', () => {
    const telling = new Telling();
    telling.raw('kvm.vm.init:begin', { kvm: 7, usersCount: 1 });
    telling.raw('kvm.vm.init:end', { kvm: 7, usersCount: 1 });
    telling.raw('kvm.vm.create:end', { ret: -ENOMEM });
    assert.deepEqual(
      telling.world.endedVms.list().map(({ state }) => state),
      ['failed'],
    );
    assert.deepEqual(telling.leftovers(), {});
  });

  it('ends once when its creation failed and the kernel destroyed it', () => {
    const telling = new Telling();
    telling.raw('kvm.vm.init:begin', { kvm: 7, usersCount: 1 });
    telling.raw('kvm.vm.init:end', { kvm: 7, usersCount: 1 });
    telling.raw('kvm.put:begin', { kvm: 7, usersCount: 1 });
    telling.raw('kvm.vm.destroy:begin', { kvm: 7 });
    telling.raw('kvm.vm.destroy:end', { kvm: 7 });
    telling.raw('kvm.vm.create:end', { ret: -ENOMEM });
    assert.equal(telling.world.endedVms.list().length, 1);
    assert.deepEqual(telling.leftovers(), {});
  });

  it('does not begin with a KVM ioctl that makes no VM', () => {
    const telling = new Telling();
    telling.raw('kvm.vm.create:begin');
    telling.raw('kvm.vm.create:end', { ret: 12 });
    assert.deepEqual(telling.leftovers(), {});
  });

  it('is another one when the kernel uses its address again', () => {
    const telling = new Telling();
    telling.raw('kvm.vm.init:begin', { kvm: 7, pid: 1 });
    telling.raw('kvm.vm.init:end', { kvm: 7, pid: 1, usersCount: 1 });
    const first = telling.onlyVm();
    telling.raw('kvm.vm.init:begin', { kvm: 7, pid: 2 });
    telling.raw('kvm.vm.init:end', { kvm: 7, pid: 2, usersCount: 1 });
    const second = telling.onlyVm();
    assert.notEqual(second.serial, first.serial);
    assert.equal(first.state, 'destroyed');
    assert.deepEqual(telling.world.endedVms.list(), [first]);
    telling.raw('kvm.put:begin', { kvm: 7, usersCount: 5 });
    assert.deepEqual([first.users, second.users], [1, 4]);
  });

  it('is known late when it existed before', () => {
    const telling = new Telling();
    telling.raw('kvm.get:begin', { kvm: 7, usersCount: 4, vmPid: 1234 });
    const vm = telling.onlyVm();
    assert.deepEqual(
      [vm.adopted, vm.state, vm.users, vm.makerTid, vm.task, telling.world.qualityOf(vm)],
      [true, 'running', 5, 1234, undefined, 'late'],
    );
  });

  it('drops its devices when it is destroyed', () => {
    const telling = new Telling();
    const vm = telling.tell((story) => story.createVm());
    const told = telling.tell((story) => story.create(story.parent()));
    telling.tell((story) => story.open(told, { vm }));
    telling.raw('kvm.vm.destroy:begin', { kvm: vm.key, usersCount: 0 });
    telling.raw('kvm.vm.destroy:end', { kvm: vm.key });
    const entries = telling.device(told.uuid)?.timeline.entries() ?? [];
    assert.equal(entries.at(-1)?.vm, telling.world.endedVms.list()[0].serial);
  });
});
