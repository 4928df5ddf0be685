/** Who waits behind a call that does not return: what is known, what is inferred, and what is said of it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import { attributionLines } from '../../src/engine/attribution-lines.ts';
import type { Host, WaitingTask, WaitingTasks } from '../../src/events/host.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';
import { unbindBegins } from '../../src/scenario/vfio.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';

const ADMIN = { pid: 700, comm: 'admin' };
const REMOVER = { pid: 701, comm: 'remover' };
const IN_DRIVER = [
  'msleep+0x2d/0x50',
  'gpu_remove+0x1/0x2',
  'device_release_driver_internal+0x161/0x200',
];
const REMOVES = ['device_del+0x3d/0x3e0', 'mdev_device_remove+0x97/0xe0 [mdev]'];
const UNBINDS = ['device_release_driver_internal+0x41/0x200', 'unbind_store+0xa1/0xb0'];

function waiting(pid: number, comm: string, stack: string[], tid = pid): WaitingTask {
  return { pid, tid, comm, uid: 0, inKernel: { state: 'D (disk sleep)', stack } };
}

/** A host with these tasks in state D, which counts how often it is asked. */
class Hung implements Host {
  readonly traits = LINUX_6_12;
  asked = 0;
  answer: WaitingTasks | undefined;
  stalled = { state: 'D (disk sleep)', stack: IN_DRIVER };

  constructor(...tasks: WaitingTask[]) {
    this.answer = { tasks, missing: [] };
  }

  readonly pidsWithKvmFiles = () => new Set<number>();
  readonly blockedTask = () => this.stalled;
  readonly waitingTasks = () => {
    this.asked++;
    return this.answer;
  };
}

const runnerOf = (host: Host, ...ids: string[]) =>
  new ScenarioRunner({ rules: RULES.filter(({ id }) => ids.includes(id)), host });

/** The driver does not return from a remove callback that a write to unbind called. */
function hang(scenario: Scenario, device = scenario.create(scenario.parent()), as = ADMIN) {
  unbindBegins(scenario, { device, task: as, idle: true });
  return device;
}

function violationOf(
  host: Host,
  more: (scenario: Scenario, device: ReturnType<typeof hang>) => void = () => {},
) {
  const runner = runnerOf(host, 'remove-stall');
  runner.run((scenario) => {
    more(scenario, hang(scenario));
    scenario.wait(11);
  });
  const [violation, ...others] = runner.violations();
  assert.ok(violation && others.length === 0, 'one remove-stall');
  return { violation, runner };
}

describe('those who wait behind a stall', () => {
  it('are known by their own calls about the same object, else inferred from their stacks', () => {
    const host = new Hung(
      waiting(450, 'libvirtd', UNBINDS, 451),
      waiting(REMOVER.pid, REMOVER.comm, REMOVES),
      waiting(800, 'qemu', ['vfio_df_open+0x1/0x2 [vfio]']),
      waiting(801, 'nfsd', ['rpc_wait_bit_killable+0x1/0x2']),
      waiting(ADMIN.pid, ADMIN.comm, IN_DRIVER),
    );
    const { violation } = violationOf(host, (scenario, device) => {
      scenario.wait(4);
      scenario.removeBegins(device, { as: REMOVER, idle: true });
    });
    const { sure, probable, possible, listed, missing } = violation.waiters ?? {};
    assert.deepEqual([sure, probable, possible, missing], [1, 1, 1, []]);
    assert.deepEqual(
      listed?.map(({ task, how }) => [task.comm, how]),
      [
        ['remover', 'waits'],
        ['libvirtd', 'probably waits'],
        ['qemu', 'may wait'],
      ],
    );
    assert.equal(violation.blocked?.task.comm, 'admin');
    assert.match(
      violation.message,
      /although nobody has the device open\. 1 other task waits behind it: remover \(pid 701, in device_del, its call began \d+(\.\d)? s ago\)\. 1 other task probably waits behind it, inferred from waiting for the lock of a device: libvirtd \(thread 451 of pid 450, in device_release_driver_internal\)\. 1 other task may wait behind it or behind another call, inferred from the kernel stack alone: qemu \(pid 800, in vfio_df_open\)\.$/,
    );
    const [began, ...inferred] = listed?.map(({ callBegan }) => callBegan) ?? [];
    assert.ok(began && began < violation.firstSeen);
    assert.deepEqual(inferred, [0, 0], 'since when they wait is not known');
    const lines = attributionLines(violation).filter((line) => line.startsWith('behind it'));
    assert.deepEqual(lines.slice(1), [
      'behind it    libvirtd (pid 450, uid 0), probably waits, in device_release_driver_internal, D (disk sleep)',
      'behind it    qemu (pid 800, uid 0), may wait, in vfio_df_open, D (disk sleep)',
    ]);
  });

  it('only may wait where the stalled call is not known to have the lock of a device', () => {
    const host = new Hung(waiting(450, 'libvirtd', UNBINDS));
    host.stalled = { state: 'D (disk sleep)', stack: ['msleep+0x2d/0x50', 'vfio_df_open+0x1/0x2'] };
    assert.equal(violationOf(host).violation.waiters?.possible, 1);
  });

  it('are attributed to none of several stalls as a fact, and to no other than that of their own call', () => {
    const host = new Hung(
      waiting(450, 'libvirtd', UNBINDS),
      waiting(REMOVER.pid, REMOVER.comm, REMOVES),
    );
    const runner = runnerOf(host, 'remove-stall');
    runner.run((scenario) => {
      const device = hang(scenario);
      hang(scenario, scenario.create(scenario.parent()), { pid: 702, comm: 'other' });
      scenario.removeBegins(device, { as: REMOVER, idle: true });
      scenario.wait(20);
    });
    assert.deepEqual(
      runner
        .violations()
        .map(({ waiters }) => waiters?.listed.map(({ task, how }) => `${task.comm} ${how}`)),
      [['remover waits', 'libvirtd may wait'], ['libvirtd may wait']],
    );
  });

  it('are not known to wait when their call about the object began before', () => {
    const host = new Hung(waiting(REMOVER.pid, REMOVER.comm, REMOVES));
    const runner = runnerOf(host, 'remove-stall');
    runner.run((scenario) => {
      const device = scenario.create(scenario.parent());
      scenario.removeBegins(device, { as: REMOVER, idle: true });
      scenario.wait(1);
      hang(scenario, device);
      scenario.wait(11);
    });
    const [{ waiters }] = runner.violations();
    assert.deepEqual([waiters?.sure, waiters?.probable], [0, 1]);
  });

  it('do not include the removal of another device, which waits for the users of that', () => {
    const awaitsUsers = ['vfio_unregister_group_dev+0x9a/0xf0 [vfio]', ...UNBINDS];
    const runner = runnerOf(
      new Hung(waiting(REMOVER.pid, REMOVER.comm, awaitsUsers)),
      'remove-stall',
    );
    runner.run((scenario) => {
      scenario.removeBegins(scenario.create(scenario.parent()), { as: REMOVER });
      hang(scenario);
      scenario.wait(11);
    });
    for (const { waiters, message } of runner.violations()) {
      assert.deepEqual(waiters?.listed, []);
      assert.doesNotMatch(message, /behind/);
    }
  });

  it('are bounded in message and list, with their number, and it is said why there may be more', () => {
    const host = new Hung(...Array.from({ length: 40 }, (_, i) => waiting(900 + i, 'sh', UNBINDS)));
    host.answer = { tasks: host.answer?.tasks ?? [], missing: ['hidden', 'truncated'] };
    const { violation } = violationOf(host);
    assert.deepEqual([violation.waiters?.probable, violation.waiters?.listed.length], [40, 16]);
    assert.match(
      violation.message,
      / 40 other tasks probably wait behind it, .*: sh \(pid 900, .*\), sh \(pid 901, .*\), sh \(pid 902, .*\) and 37 more\. There may be more: \/proc hides the processes of other users, more tasks are blocked than are looked at\.$/,
    );
    const lines = attributionLines(violation).filter((line) => line.startsWith('behind it'));
    assert.equal(lines.length, 10);
    assert.match(lines[8], /and 32 more$/);
  });
});

describe('the tasks of the host', () => {
  it('are read only while a call is stalled', () => {
    const host = new Hung();
    const runner = runnerOf(host, 'remove-stall', 'never-opened');
    runner.run((scenario) => {
      hang(scenario);
      scenario.wait(9);
    });
    assert.equal(host.asked, 0);
    runner.run((scenario) => scenario.wait(2));
    assert.ok(host.asked > 0);
  });

  it('are awaited from tick to tick, and the first ones are reported once', () => {
    const host = new Hung(waiting(450, 'libvirtd', UNBINDS));
    const { answer } = host;
    host.answer = undefined;
    const { runner, violation } = violationOf(host);
    assert.deepEqual([violation.waiters, runner.changes], [undefined, ['raised v1']]);
    host.answer = answer;
    runner.run((scenario) => scenario.wait(1));
    assert.match(violation.message, / 1 other task probably waits behind it/);
    runner.run((scenario) => scenario.wait(20));
    assert.deepEqual(runner.changes, ['raised v1', 'waiters_found v1']);
  });

  it('are not known in a replay', () => {
    const host: Host = { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined };
    assert.equal(violationOf(host).violation.waiters, undefined);
  });
});
