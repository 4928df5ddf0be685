/** Attribution: who is named in a violation, and where the host is asked. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import { attributionLines } from '../../src/engine/attribution-lines.ts';
import { EEXIST } from '../../src/engine/errno.ts';
import type { FileOwner, Host } from '../../src/events/host.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { childRemovalBegins } from '../../src/scenario/mdev.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';
import type { Actor } from '../../src/scenario/types.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';

const LIBVIRT: Actor = { pid: 450, comm: 'libvirtd', cgroup: 2100 };
const QEMU: Actor = { pid: 600, comm: 'qemu', uid: 107, cgroup: 2200 };
const BASH: Actor = { pid: 700, comm: 'bash', cgroup: 3300 };
const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';

const UNITS: Readonly<Record<number, string>> = {
  2100: 'libvirtd.service',
  2200: 'machine-qemu-1-a.scope',
  3300: 'session-3.scope',
};
const BLOCKED = { state: 'S (sleeping)', wchan: 'vfio_unregister_group_dev', stack: ['a+0x1/0x2'] };

/** A host that knows all control groups, and on which by default files are where they were opened. */
function hostWith(more: Partial<Host> = {}): Host {
  return {
    traits: LINUX_6_12,
    pidsWithKvmFiles: () => new Set(),
    controlGroup: ({ cgroup }) =>
      UNITS[cgroup] ? { path: `/${UNITS[cgroup]}`, unit: UNITS[cgroup] } : undefined,
    blockedTask: () => BLOCKED,
    hasDeviceFile: () => true,
    fileOwners: () => [],
    ...more,
  };
}

function stall(scenario: Scenario): void {
  const device = scenario.create(scenario.parent(), { uuid: UUID, as: LIBVIRT });
  scenario.open(device, { vm: scenario.createVm({ as: QEMU }), as: QEMU });
  scenario.removeBegins(device, { as: BASH });
  scenario.wait(11);
}

function violationOf(rule: string, run: (scenario: Scenario) => void, host = hostWith()) {
  const runner = new ScenarioRunner({ rules: RULES.filter(({ id }) => id === rule), host });
  runner.run(run);
  const [violation, ...others] = runner.violations();
  assert.ok(violation && others.length === 0, `one ${rule}`);
  return violation;
}

function owner(fields: Partial<FileOwner>): FileOwner {
  const none = { deviceFiles: [], groupFiles: [], cdevFiles: [], mappedDevices: [] };
  return { pid: 800, comm: 'thief', uid: 0, startedAt: 0, kvmFiles: false, ...none, ...fields };
}

describe('the attribution of a stalled removal', () => {
  it('has users, units, files, times, and the stack of the blocked task', () => {
    const violation = violationOf('remove-stall', stall);
    const [holder, ...others] = violation.holders;
    assert.equal(others.length, 0);
    const { task, group, holds, how, device, fd, vm } = holder;
    assert.deepEqual([task.pid, task.uid, group?.unit], [600, 107, 'machine-qemu-1-a.scope']);
    assert.deepEqual([holds, how, device, fd], ['device', 'holds', UUID, 20]);
    assert.deepEqual(vm, violation.vm);
    assert.ok(holder.since > 0 && holder.since < violation.firstSeen);
    assert.deepEqual(violation.blocked?.inKernel, BLOCKED);
    assert.deepEqual(attributionLines(violation), [
      'held by      qemu (pid 600, uid 107, machine-qemu-1-a.scope): ' +
        `device ${UUID}, fd 20, for ${vm?.id}, opened 11 s ago`,
      'blocked      bash (pid 700, uid 0, session-3.scope), in vfio_unregister_group_dev, S (sleeping)',
      'created by   libvirtd (pid 450, uid 0, libvirtd.service)',
      'removed by   bash (pid 700, uid 0, session-3.scope)',
    ]);
    assert.match(
      violation.message,
      /qemu \(pid 600\)\. It was created by someone else: libvirtd \(pid 450, uid 0, libvirtd\.service\), not bash \(pid 700, uid 0, session-3\.scope\)\.$/,
    );
  });

  it('has what events show where the host cannot be asked, as in a replay', () => {
    const host: Host = { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined };
    const violation = violationOf('remove-stall', stall, host);
    assert.deepEqual(
      violation.holders.map(({ how, group }) => [how, group]),
      [['opened', undefined]],
    );
    assert.equal(violation.blocked?.inKernel, undefined);
    const lines = attributionLines(violation);
    assert.match(lines[0], /qemu \(pid 600, uid 107, cgroup 2200\): device .*, opened 11 s ago$/);
    assert.equal(lines[1], 'blocked      bash (pid 700, uid 0, cgroup 3300)');
    assert.match(violation.message, /libvirtd \(pid 450, uid 0, cgroup 2100\), not bash/);
  });

  it('is whoever may have got the file, when its opener has it no more', () => {
    const fileOwners = () => [
      owner({ pid: 800, deviceFiles: [{ fd: 7 }] }),
      owner({ pid: 801, deviceFiles: [{ fd: 3, device: UUID }] }),
      owner({ pid: 802, deviceFiles: [{ fd: 3, device: 'another' }] }),
      owner({ pid: 803, kvmFiles: true }),
    ];
    const host = hostWith({ hasDeviceFile: () => false, fileOwners });
    const violation = violationOf('remove-stall', stall, host);
    assert.deepEqual(
      violation.holders.map(({ task, how, fd }) => [task.pid, how, fd]),
      [
        [600, 'passed on', 20],
        [800, 'may hold', 7],
        [801, 'holds', 3],
      ],
    );
    const [opener, perhaps] = attributionLines(violation);
    assert.match(opener, /fd 20, for vm\d+, opened 11 s ago, passed on to another process$/);
    assert.match(perhaps, /^held by {6}thief \(pid 800, uid 0\): perhaps by device file, fd 7$/);
  });

  it('is not someone who opened another device', () => {
    const host = hostWith({
      hasDeviceFile: (pid) => pid !== QEMU.pid,
      fileOwners: () => [owner({ pid: 900, deviceFiles: [{ fd: 20 }] })],
    });
    const violation = violationOf(
      'remove-stall',
      (scenario) => {
        scenario.open(scenario.create(scenario.parent()), { as: { pid: 900, comm: 'dpdk' } });
        stall(scenario);
      },
      host,
    );
    assert.deepEqual(
      violation.holders.map(({ task }) => task.pid),
      [600],
    );
  });

  it('follows what changes while it lasts', () => {
    const runner = new ScenarioRunner({ rules: RULES, host: hostWith() });
    const again = runner.run((scenario) => {
      const device = scenario.create(scenario.parent(), { as: LIBVIRT });
      scenario.open(device, { as: QEMU });
      const second = scenario.open(device, { as: BASH });
      scenario.removeBegins(device, { as: BASH });
      scenario.wait(11);
      return second;
    });
    const find = () => runner.violations().find(({ rule }) => rule === 'remove-stall');
    assert.equal(find()?.holders.length, 2);
    runner.run((scenario) => {
      scenario.close(again);
      scenario.wait(5);
    });
    assert.deepEqual(
      find()?.holders.map(({ task }) => task.pid),
      [600],
    );
  });
});

describe('the attribution of a failed creation', () => {
  it('has who requested the device, which nobody created', () => {
    const violation = violationOf('duplicate-uuid', (scenario) => {
      const parent = scenario.parent();
      scenario.create(parent, { uuid: UUID, as: LIBVIRT });
      scenario.createFails(parent, EEXIST, { uuid: UUID, as: BASH });
    });
    assert.match(violation.message, /created by libvirtd \(pid 450\)/);
    assert.deepEqual(attributionLines(violation), [
      'requested by bash (pid 700, uid 0, session-3.scope)',
    ]);
    assert.deepEqual([violation.creator, violation.requester?.task.pid], [undefined, 700]);
  });
});

describe('the attribution of a blocked unregistration of a parent', () => {
  it('names who has its devices open, and who created the one that it waits for', () => {
    const violation = violationOf('parent-unregister-stall', (scenario) => {
      const parent = scenario.parent();
      const device = scenario.create(parent, { as: LIBVIRT });
      scenario.open(device, { vm: scenario.createVm({ as: QEMU }), as: QEMU });
      childRemovalBegins(scenario, scenario.parentUnregisterBegins(parent), device);
      scenario.wait(6);
    });
    assert.deepEqual(
      violation.holders.map(({ task, how }) => [task.pid, how]),
      [[600, 'holds']],
    );
    assert.deepEqual(violation.blocked?.inKernel, BLOCKED);
    assert.equal(violation.remover?.task.comm, violation.blocked?.task.comm);
    assert.equal(violation.creator, undefined, 'of a parent nobody is');
  });
});

describe('the attribution of a zombie VM', () => {
  it('is who has the device open that pins it', () => {
    const violation = violationOf('vm-pinned-by-device', (scenario) => {
      const vm = scenario.createVm({ as: QEMU });
      scenario.open(scenario.create(scenario.parent()), { vm, as: QEMU });
      scenario.closeVm(vm);
      scenario.wait(11);
    });
    assert.deepEqual(
      violation.holders.map(({ task, holds, how }) => [task.pid, holds, how]),
      [[600, 'device', 'holds']],
    );
  });

  it('is nobody when it is leaked, or who turned up since with files of KVM', () => {
    const leak = (scenario: Scenario) => {
      const vm = scenario.createVm({ as: QEMU });
      scenario.getKvm(vm);
      scenario.closeVm(vm);
      scenario.exit(QEMU);
      scenario.wait(9);
    };
    assert.deepEqual(violationOf('kvm-ref-leak', leak).holders, []);
    const fileOwners = () => [owner({ pid: 800, kvmFiles: true })];
    const { holders } = violationOf('kvm-ref-leak', leak, hostWith({ fileOwners }));
    assert.deepEqual(
      holders.map(({ task, holds, how }) => [task.pid, holds, how]),
      [[800, 'kvm', 'may hold']],
    );
  });
});

describe('a one-shot violation', () => {
  it('names who had the device open then, without asking who has it now', () => {
    const host = hostWith({
      hasDeviceFile: () => assert.fail('asked for files'),
      fileOwners: () => assert.fail('asked for owners'),
    });
    const violation = violationOf(
      'removed-by-another',
      (scenario) => {
        const device = scenario.create(scenario.parent(), { as: LIBVIRT });
        scenario.open(device, { vm: scenario.createVm({ as: QEMU }), as: QEMU });
        scenario.removeBegins(device, { as: BASH });
      },
      host,
    );
    assert.deepEqual(
      violation.holders.map(({ task, how }) => [task.pid, how]),
      [[600, 'opened']],
    );
    assert.deepEqual(
      [violation.creator?.task.comm, violation.remover?.group?.unit],
      ['libvirtd', 'session-3.scope'],
    );
  });

  it('names who has what stands in its way: the older device of a UUID', () => {
    const violation = violationOf('duplicate-uuid', (scenario) => {
      const parent = scenario.parent();
      const device = scenario.create(parent);
      scenario.open(device, { as: QEMU });
      scenario.createFails(parent, 17, { uuid: device.uuid });
    });
    assert.deepEqual(
      violation.holders.map(({ task }) => task.pid),
      [600],
    );
  });
});
