import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ScenarioRunner } from '../../test/kit/scenario-runner.ts';

const ENOMEM = 12;

describe('the lifecycle of a VM', () => {
  it('passes from creating through running, zombie and destroying to destroyed', () => {
    const runner = new ScenarioRunner();
    runner.raw('kvm.vm.create:begin');
    runner.raw('kvm.vm.init:begin', { kvm: 7, usersCount: 1 });
    const vm = runner.onlyVm();
    assert.deepEqual([vm.state, vm.task?.pid, vm.creatorTid], ['creating', 500, 500]);
    runner.raw('kvm.vm.init:end', { kvm: 7, usersCount: 1 });
    runner.raw('kvm.vm.create:end', { ret: 11 });
    assert.deepEqual([vm.state, vm.fd, vm.users, vm.adopted], ['running', 11, 1, false]);
    assert.ok(vm.createdAt > vm.firstSeen);

    runner.raw('kvm.vm.fd_close:begin', { kvm: 7, usersCount: 1 });
    assert.equal(vm.state, 'zombie');
    runner.raw('kvm.put:begin', { kvm: 7, usersCount: 1 });
    assert.equal(vm.users, 0);
    runner.raw('kvm.vm.destroy:begin', { kvm: 7, usersCount: 0 });
    assert.deepEqual(
      [vm.state, vm.isOver, vm.isGone, vm.destroyedAt],
      ['destroying', false, true, 0],
    );
    assert.deepEqual(runner.onlyVm(), vm);
    runner.raw('kvm.vm.destroy:end', { kvm: 7 });
    assert.deepEqual([vm.state, vm.isOver], ['destroyed', true]);
    runner.raw('kvm.vm.fd_close:end', { kvm: 7 });
    assert.ok(vm.destroyedAt > vm.destroyBegan);
    assert.deepEqual(runner.world.vms.ended.list(), [vm]);
    assert.deepEqual(runner.leftovers(), {});
  });

  it('has the users_count of the kernel', () => {
    const runner = new ScenarioRunner();
    const created = runner.run((scenario) => scenario.createVm());
    const vm = runner.onlyVm();
    runner.run((scenario) => scenario.getKvm(created));
    assert.equal(vm.users, 2);
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const open = runner.run((scenario) => scenario.open(device, { vm: created }));
    assert.equal(vm.users, 3);
    runner.run((scenario) => scenario.close(open));
    assert.equal(vm.users, 2);
    assert.equal(vm.users, created.users);
  });

  it('is a zombie while something holds a reference on it', () => {
    const runner = new ScenarioRunner();
    const created = runner.run((scenario) => scenario.createVm());
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const open = runner.run((scenario) => scenario.open(device, { vm: created }));
    const vm = runner.onlyVm();
    runner.run((scenario) => scenario.closeVm(created));
    assert.deepEqual([vm.state, vm.users, vm.isOver], ['zombie', 1, false]);
    runner.run((scenario) => scenario.close(open));
    assert.deepEqual([vm.state, vm.users], ['destroyed', 0]);
  });

  it('ends as failed when its initialisation fails', () => {
    const runner = new ScenarioRunner();
    runner.raw('kvm.vm.init:begin', { kvm: 7, usersCount: 1 });
    runner.raw('kvm.vm.init:end', { kvm: 7, ret: -ENOMEM });
    runner.raw('kvm.vm.create:end', { ret: -ENOMEM });
    assert.deepEqual(
      runner.world.vms.ended.list().map(({ state }) => state),
      ['failed'],
    );
    assert.deepEqual(runner.leftovers(), {});
  });

  it('ends as failed when no file could be created for it', () => {
    const runner = new ScenarioRunner();
    runner.raw('kvm.vm.init:begin', { kvm: 7, usersCount: 1 });
    runner.raw('kvm.vm.init:end', { kvm: 7, usersCount: 1 });
    runner.raw('kvm.vm.create:end', { ret: -ENOMEM });
    assert.deepEqual(
      runner.world.vms.ended.list().map(({ state }) => state),
      ['failed'],
    );
    assert.deepEqual(runner.leftovers(), {});
  });

  it('ends only once when its creation fails and the kernel destroys it', () => {
    const runner = new ScenarioRunner();
    runner.raw('kvm.vm.init:begin', { kvm: 7, usersCount: 1 });
    runner.raw('kvm.vm.init:end', { kvm: 7, usersCount: 1 });
    runner.raw('kvm.put:begin', { kvm: 7, usersCount: 1 });
    runner.raw('kvm.vm.destroy:begin', { kvm: 7 });
    runner.raw('kvm.vm.destroy:end', { kvm: 7 });
    runner.raw('kvm.vm.create:end', { ret: -ENOMEM });
    assert.equal(runner.world.vms.ended.list().length, 1);
    assert.deepEqual(runner.leftovers(), {});
  });

  it('does not begin with a KVM ioctl that creates no VM', () => {
    const runner = new ScenarioRunner();
    runner.raw('kvm.vm.create:begin');
    runner.raw('kvm.vm.create:end', { ret: 12 });
    assert.deepEqual(runner.leftovers(), {});
  });

  it('ends when the kernel uses its address for another VM', () => {
    const runner = new ScenarioRunner();
    runner.raw('kvm.vm.init:begin', { kvm: 7, pid: 1 });
    runner.raw('kvm.vm.init:end', { kvm: 7, pid: 1, usersCount: 1 });
    const first = runner.onlyVm();
    runner.raw('kvm.vm.init:begin', { kvm: 7, pid: 2 });
    runner.raw('kvm.vm.init:end', { kvm: 7, pid: 2, usersCount: 1 });
    const second = runner.onlyVm();
    assert.notEqual(second.serial, first.serial);
    assert.equal(first.state, 'destroyed');
    assert.deepEqual(runner.world.vms.ended.list(), [first]);
    runner.raw('kvm.put:begin', { kvm: 7, usersCount: 5 });
    assert.deepEqual([first.users, second.users], [1, 4]);
  });

  it('is adopted at its first event when it existed before the agent', () => {
    const runner = new ScenarioRunner();
    runner.raw('kvm.get:begin', { kvm: 7, usersCount: 4, vmPid: 1234 });
    const vm = runner.onlyVm();
    assert.deepEqual(
      [vm.adopted, vm.state, vm.users, vm.creatorTid, vm.task, runner.world.qualityOf(vm)],
      [true, 'running', 5, 1234, undefined, 'partial'],
    );
  });

  it('adds its destruction to the timelines of its devices', () => {
    const runner = new ScenarioRunner();
    const vm = runner.run((scenario) => scenario.createVm());
    const created = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.run((scenario) => scenario.open(created, { vm }));
    runner.raw('kvm.vm.destroy:begin', { kvm: vm.key, usersCount: 0 });
    runner.raw('kvm.vm.destroy:end', { kvm: vm.key });
    const entries = runner.device(created.uuid)?.timeline.entries() ?? [];
    assert.equal(entries.at(-1)?.vm, runner.world.vms.ended.list()[0].serial);
  });
});
