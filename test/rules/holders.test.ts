/** Who is said to hold a device: the sentence, the holders and what the host shows must agree. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import { attributionLines } from '../../src/engine/attribution-lines.ts';
import type { BlockedTask, FileOwner, Host } from '../../src/events/host.ts';
import { bindCdev, openCdev } from '../../src/scenario/cdev.ts';
import { LINUX_5_10, LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { removeUnfreed } from '../../src/scenario/mdev.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';
import type { Actor, ScenarioDevice } from '../../src/scenario/types.ts';
import { duringSnapshot, openGroup } from '../../src/scenario/vfio.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';
import { applyAll, snapshotBegins, snapshotEnds, snapshotSysfs } from '../kit/snapshot-records.ts';

const QEMU: Actor = { pid: 600, comm: 'qemu', uid: 107 };
const BASH: Actor = { pid: 700, comm: 'bash' };
const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';

/** A process that is not the opener, and what of devices it has. */
function owner(fields: Partial<FileOwner>): FileOwner {
  const none = { deviceFiles: [], groupFiles: [], cdevFiles: [], mappedDevices: [] };
  return { pid: 800, comm: 'helper', uid: 0, startedAt: 0, kvmFiles: false, ...none, ...fields };
}

/** A host on which the opener still has its file. */
function hostWith(more: Partial<Host>): Host {
  return {
    traits: LINUX_6_12,
    pidsWithKvmFiles: () => new Set(),
    isAlive: () => true,
    hasDeviceFile: () => true,
    fileOwners: () => [],
    ...more,
  };
}

const gone = (owners: FileOwner[], more: Partial<Host> = {}) =>
  hostWith({ isAlive: () => false, hasDeviceFile: () => false, fileOwners: () => owners, ...more });

/** A removal that waits for a device which somebody has opened, or nobody. */
function stall(scenario: Scenario, { isOpen = true, closing = false, seconds = 11 } = {}): void {
  const device = scenario.create(scenario.parent(), { uuid: UUID });
  const open = scenario.open(device, { vm: scenario.createVm({ as: QEMU }), as: QEMU });
  if (!isOpen) scenario.close(open);
  scenario.removeBegins(device, { as: BASH });
  if (closing) scenario.closeBegins({ ...open, task: { ...QEMU, pid: 601 } });
  scenario.wait(seconds);
}

function violationOf(
  host: Host,
  { rule = 'remove-stall', run = stall as (scenario: Scenario) => void } = {},
) {
  const runner = new ScenarioRunner({ rules: RULES.filter(({ id }) => id === rule), host });
  runner.run(run);
  const [violation, ...others] = runner.violations();
  assert.ok(violation && others.length === 0, `one ${rule}`);
  return violation;
}

const saidOf = (host: Host, options = {}) => violationOf(host, options).message;

describe('the sentence about who holds a device', () => {
  it('names its opener, as long as that has it', () => {
    assert.match(saidOf(hostWith({})), /: it is still held open by qemu \(pid 600\)\.$/);
  });

  it('names its opener as it is called since it has called exec', () => {
    const processName = () => 'qemu-kvm';
    const { message, holders } = violationOf(hostWith({ processName }));
    assert.match(message, /: it is still held open by qemu-kvm \(pid 600\)\.$/);
    assert.equal(holders[0].task.comm, 'qemu-kvm');
    assert.match(
      saidOf(gone([], { processName })),
      /but qemu \(pid 600\), which opened it, is gone/,
    );
  });

  it('says that its opener is gone, and who probably has it', () => {
    const host = gone([owner({ deviceFiles: [{ fd: 5 }] })]);
    assert.match(
      saidOf(host),
      /it is still open, but qemu \(pid 600\), which opened it, is gone; it is probably held by helper \(pid 800\), which has a device file\.$/,
    );
  });

  it('names for certain who has it where the kernel shows that', () => {
    const host = gone([owner({ deviceFiles: [{ fd: 5, device: UUID }] })]);
    assert.match(
      saidOf(host),
      /still held open by helper \(pid 800\); qemu \(pid 600\), .* is gone\./,
    );
  });

  it('says that it was passed on only where that is known', () => {
    const passed = (device?: string) =>
      violationOf(
        hostWith({
          hasDeviceFile: () => false,
          fileOwners: () => [owner({ deviceFiles: [device ? { fd: 5, device } : { fd: 5 }] })],
        }),
      );
    assert.equal(passed().holders[0].how, 'closed');
    assert.match(passed().message, /has closed its descriptor; it is probably held by helper/);
    assert.equal(passed(UUID).holders[0].how, 'passed on');
    assert.match(
      passed(UUID).message,
      /held open by helper .*, which opened it, has passed it on\./,
    );
  });

  it('names who has it only by a mapping, and not whoever has one beside a descriptor', () => {
    const mapped = owner({ mappedDevices: [{}, {}] });
    const other = owner({ pid: 801, mappedDevices: [{}], deviceFiles: [{ fd: 3, device: 'b' }] });
    const violation = violationOf(gone([mapped, other]));
    assert.match(violation.message, /probably held by helper \(pid 800\) by a memory mapping\.$/);
    assert.match(
      attributionLines(violation)[1],
      /^held by {6}helper \(pid 800, uid 0\): perhaps by mapped memory of device file$/,
    );
  });

  it('names a process once that has both a descriptor and a mapping of the device', () => {
    const both = { cdevFiles: [{ fd: 30, cdev: 'vfio9', device: UUID }] };
    const helper = owner({ ...both, mappedDevices: [{ device: UUID }, { device: UUID }] });
    const { message, holders } = violationOf(gone([helper]));
    assert.match(message, /still held open by helper \(pid 800\) by a device cdev; qemu/);
    assert.deepEqual(
      holders.map(({ holds, task }) => [holds, task.pid]),
      [
        ['device', 600],
        ['cdev', 800],
      ],
    );
  });

  it('names its opener that has only a mapping left', () => {
    const mapped = owner({ pid: 600, comm: 'qemu', mappedDevices: [{}] });
    const host = hostWith({ hasDeviceFile: () => false, fileOwners: () => [mapped] });
    assert.match(saidOf(host), /probably held by qemu \(pid 600\) by a memory mapping\.$/);
  });

  it('claims nobody where nobody is found', () => {
    assert.match(saidOf(gone([])), /is gone; which process has it now is not known\.$/);
    assert.match(saidOf(gone([], { fileOwners: () => undefined })), /is gone; .* is not known\.$/);
  });

  it('lists several candidates as such, a few by name', () => {
    const owners = [1, 2, 3, 4, 5].map((pid) => owner({ pid, deviceFiles: [{ fd: 5 }] }));
    assert.match(saidOf(gone(owners)), /it may be held by any of helper \(pid 1\).*and 2 more\.$/);
  });

  it('does not take a process for the opener that has got its id, nor its file for that one', () => {
    // The process with the opener's id and descriptor was started after the open.
    const reborn = owner({ pid: 600, comm: 'thief', startedAt: 1e15, deviceFiles: [{ fd: 20 }] });
    assert.match(saidOf(gone([reborn])), /is gone; it is probably held by thief \(pid 600\)/);
  });

  it('does not take another device at the same descriptor for this one', () => {
    const run = (scenario: Scenario) => {
      const device = scenario.create(scenario.parent(), { uuid: UUID });
      scenario.open(device, { as: QEMU });
      scenario.wait(1);
      scenario.open(scenario.create(scenario.parent()), { as: QEMU });
      scenario.removeBegins(device, { as: BASH });
      scenario.wait(11);
    };
    assert.match(
      saidOf(hostWith({}), { run }),
      /qemu .*, which opened it, has closed its descriptor/,
    );
  });

  it('is not made of what was read before the file was opened or had gone elsewhere', () => {
    const stranger = owner({ pid: 801, comm: 'stranger', deviceFiles: [{ fd: 5 }] });
    const heir = owner({ deviceFiles: [{ fd: 5 }] });
    const opener = owner({ pid: 600, comm: 'qemu', deviceFiles: [{ fd: 20 }] });
    const old = gone([], { fileOwners: (since) => (since > 0 ? undefined : [stranger]) });
    assert.match(saidOf(old), /is gone; which process has it now is not known\.$/);
    assert.match(saidOf(gone([stranger, opener])), /which process has it now is not known\.$/);
    assert.match(saidOf(gone([heir])), /is gone; it is probably held by helper/);
  });

  it('says of a close that has not returned who makes it and since when', () => {
    const run = (scenario: Scenario) => stall(scenario, { closing: true });
    const violation = violationOf(gone([]), { run });
    assert.match(
      violation.message,
      /it is still being closed by qemu \(pid 601\), whose call that closes it began 11 s ago and has not returned/,
    );
    assert.equal(violation.holders[0].how, 'closing');
  });

  it('says of an open that has not returned who makes it and since when', () => {
    const run = (scenario: Scenario) => {
      const device = scenario.create(scenario.parent(), { uuid: UUID });
      scenario.openBegins(device, { vm: scenario.createVm({ as: QEMU }), as: QEMU });
      scenario.wait(5);
      scenario.removeBegins(device, { as: BASH });
      scenario.wait(11);
    };
    const violation = violationOf(hostWith({}), { run });
    assert.match(
      violation.message,
      /it is still being opened by qemu \(pid 600\), whose call that opens it began 16 s ago and has not returned/,
    );
    assert.equal(violation.holders[0].how, 'opening');
  });

  it('names who may have the file of an opener that is gone beside who has one for certain', () => {
    const run = (scenario: Scenario) => {
      const device = scenario.create(scenario.parent(), { uuid: UUID });
      scenario.open(device, { as: QEMU });
      scenario.open(device, { as: { ...QEMU, pid: 601 } });
      scenario.removeBegins(device, { as: BASH });
      scenario.wait(11);
    };
    const host = hostWith({
      isAlive: (pid) => pid !== 600,
      fileOwners: () => [owner({ deviceFiles: [{ fd: 5 }] })],
    });
    assert.match(
      saidOf(host, { run }),
      /held open by qemu \(pid 601\); qemu \(pid 600\), which opened it, is gone, and that file may be held by helper \(pid 800\), which/,
    );
  });

  it('says that a holder exits', () => {
    const host = hostWith({ isExiting: () => true, hasDeviceFile: () => false });
    assert.match(saidOf(host), /still held open by qemu \(pid 600\), which is exiting\.$/);
  });
});

describe('the sentence about who holds a device that is bound by its cdev', () => {
  /** What is said while its removal waits, with the files that /proc shows. */
  function bound(owners: FileOwner[] | undefined, more: Partial<Host> = {}) {
    const run = (scenario: Scenario) => {
      const device = scenario.create(scenario.parent(), { uuid: UUID });
      bindCdev(scenario, openCdev(scenario, device, { as: { pid: 800, comm: 'helper' } }), {
        as: QEMU,
      });
      openCdev(scenario, scenario.create(scenario.parent()), { as: QEMU });
      scenario.removeBegins(device, { as: BASH });
      scenario.wait(11);
    };
    // No event shows at which descriptor it is, and the file of a cdev is none that a group returns.
    const host = { hasDeviceFile: () => false, fileOwners: () => owners, ...more };
    return violationOf(hostWith(host), { run });
  }

  /** The nodes of the two devices. */
  const [ITS, OTHER] = ['vfio2', 'vfio5'];
  const qemu = (cdev: string, more: Partial<FileOwner> = {}) =>
    owner({ pid: 600, comm: 'qemu', cdevFiles: [{ fd: 9, cdev }], ...more });
  const helper = owner({ cdevFiles: [{ fd: 4, cdev: ITS }] });

  it('names who bound it, as long as that has it', () => {
    const { message, holders } = bound([qemu(ITS), helper]);
    assert.match(message, /: it is still held open by qemu \(pid 600\)\./);
    assert.deepEqual(
      holders.map(({ how, holds }) => [how, holds]),
      [['holds', 'device']],
    );
  });

  it('names who has it now, when that has passed it on', () => {
    const { message, holders } = bound([qemu(OTHER), helper]);
    assert.match(
      message,
      /: it is still held open by helper \(pid 800\) by a device cdev; qemu \(pid 600\), which opened it, has passed it on\./,
    );
    assert.deepEqual(
      holders.map(({ how, holds, task }) => [how, holds, task.pid]),
      [
        ['passed on', 'device', 600],
        ['holds', 'cdev', 800],
      ],
    );
  });

  it('says that it has closed its descriptor, where nobody is seen to have it', () => {
    assert.match(
      bound([]).message,
      /still open, but qemu .*, which opened it, has closed its descriptor; which process has it now is not/,
    );
  });

  it('names who has only mapped it, although that has the cdev of another device', () => {
    const mapped = { cdevFiles: [{ fd: 5, cdev: OTHER }], mappedDevices: [{ device: UUID }] };
    assert.match(
      bound([owner(mapped)]).message,
      /held open by helper \(pid 800\) by a memory mapping; qemu .* has passed it on/,
    );
  });

  it('does not take a process for the one that bound it that has got its id', () => {
    const reborn = qemu(ITS, { comm: 'thief', startedAt: 1e15 });
    const { message, holders } = bound([reborn], { isAlive: () => false });
    assert.match(message, /held open by thief \(pid 600\) by a device cdev\.$/);
    assert.deepEqual(
      holders.map(({ how, task }) => `${task.comm}: ${how}`),
      ['qemu: gone', 'thief: holds'],
    );
  });

  it('relies on the events where /proc has no answer, or does not show of which device a file is', () => {
    assert.equal(bound(undefined).holders[0].how, 'opened');
    assert.equal(bound([qemu('vfio77')]).holders[0].how, 'opened');
  });
});

describe('the sentence about a removal that waits although nobody has the device open', () => {
  const run = (scenario: Scenario) => stall(scenario, { isOpen: false });
  const idle = (owners: FileOwner[], more: Partial<Host> = {}) =>
    saidOf(hostWith({ fileOwners: () => owners, ...more }), { run });

  it('names who has its cdev open', () => {
    const cdevFiles = [{ fd: 4, cdev: 'vfio0', device: UUID }];
    assert.match(idle([owner({ cdevFiles })]), /but helper \(pid 800\) has its cdev open/);
    assert.match(idle([owner({ cdevFiles: [{ fd: 4, cdev: 'vfio0' }] })]), /but probably helper/);
    const others = [{ fd: 4, cdev: 'vfio1', device: 'another' }];
    assert.doesNotMatch(idle([owner({ cdevFiles: others })]), /helper/);
  });

  it('says who opened a cdev that is not bound, how long ago, and who has it now', () => {
    const opened = (scenario: Scenario) => {
      const device = scenario.create(scenario.parent(), { uuid: UUID });
      openCdev(scenario, device);
      scenario.removeBegins(device);
      scenario.wait(12);
    };
    const said = (owners: FileOwner[]) =>
      saidOf(hostWith({ fileOwners: () => owners }), { run: opened });
    assert.match(
      said([]),
      /: it is not open for DMA, but qemu \(pid 600\) opened its cdev 12 s ago, and it is bound to no iommufd, but keeps the device registered until it is closed\.$/,
    );
    const cdevFiles = [{ fd: 4, cdev: 'vfio0', device: UUID }];
    assert.match(said([owner({ cdevFiles })]), /closed; helper \(pid 800\) has it now\.$/);
    const unknown = owner({ cdevFiles: [{ fd: 4, cdev: 'vfio0' }] });
    assert.match(said([unknown]), /closed; probably helper \(pid 800\) has it now\.$/);
    // Sysfs does not show of which device it is, but its open was observed.
    const byNode = owner({ cdevFiles: [{ fd: 4, cdev: 'vfio2' }] });
    assert.match(said([byNode]), /closed; helper \(pid 800\) has it now\.$/);
    const openers = { ...owner({ cdevFiles }), pid: 600, comm: 'qemu' };
    assert.match(said([openers]), /until it is closed\.$/);
    assert.match(said([openers, owner({ cdevFiles })]), /; helper \(pid 800\) has it, too\.$/);
    const both = [owner({ cdevFiles }), owner({ pid: 801, cdevFiles })];
    assert.match(said(both), /; helper \(pid 800\) and helper \(pid 801\) have it now\.$/);
    assert.match(said([...both, unknown]), /; helper \(pid 800\) and helper \(pid 801\) have it/);
  });

  it('is a fault of the driver where nobody is found', () => {
    assert.match(
      idle([]),
      /never put, which is a fault of its driver .*; only a reboot ends that\.$/,
    );
  });

  it('is perhaps a file that no process has, where an open may not have been observed', () => {
    const runner = new ScenarioRunner({
      rules: RULES.filter(({ id }) => id === 'remove-stall'),
      host: hostWith({}),
    });
    const { world } = runner;
    const device = runner.run((scenario) => scenario.create(scenario.parent(), { uuid: UUID }));
    runner.lose();
    const { now } = world;
    applyAll(world, [snapshotBegins(now), ...snapshotSysfs(world, now), snapshotEnds(now)]);
    runner.run((scenario) => {
      scenario.removeBegins(device, { as: BASH });
      scenario.wait(11);
    });
    const [{ message, quality }] = runner.violations();
    assert.equal(quality, 'partial');
    assert.match(
      message,
      /: no process has it or its cdev open, but opens of it may not have been observed: a file of it may be in a socket or kept by a VM, and the wait ends when that is closed, or its driver \S+ took a reference on its registration and did not put it\.$/,
    );
  });

  it('agrees with the holders: whoever has a file of an unknown device is none of them', () => {
    const others = owner({ deviceFiles: [{ fd: 5 }], mappedDevices: [{}] });
    const host = hostWith({ fileOwners: () => [others] });
    const { message, holders } = violationOf(host, { run });
    assert.match(message, /nobody has it or its cdev open/);
    assert.deepEqual(holders, []);
  });

  it('is about the group only on kernels that wait for it, and where somebody has it open', () => {
    const groups = Array.from({ length: 40 }, (_, group) => ({ fd: group, group }));
    const ofAll = [owner({ groupFiles: groups })];
    assert.match(
      idle(ofAll, { traits: LINUX_5_10 }),
      /but helper \(pid 800\) has its group \d+ open/,
    );
    assert.match(idle(ofAll), /a fault of its driver/);
    const other = owner({ groupFiles: [{ fd: 4, group: 77 }] });
    assert.match(idle([other], { traits: LINUX_5_10 }), /a fault of its driver/);
  });

  describe('but its group was opened and not closed', () => {
    const grouped =
      (open: (scenario: Scenario, device: ScenarioDevice) => void) => (scenario: Scenario) => {
        const device = scenario.create(scenario.parent(), { uuid: UUID });
        open(scenario, device);
        scenario.removeBegins(device, { as: BASH });
        scenario.wait(11);
      };
    const byQemu = grouped((scenario, device) => openGroup(scenario, device, { as: QEMU }));
    const on510 = (more: Partial<Host>, run = byQemu) =>
      saidOf(hostWith({ traits: LINUX_5_10, ...more }), { run });

    it('is about the group, although no process has a descriptor of it', () => {
      assert.match(
        on510({}),
        /nobody has it open, but its group \d+ was not closed: qemu \(pid 600\), which opened it, has it no more, and no process is seen to have a descriptor of it, so it probably waits until that group is in no container\.$/,
      );
      assert.match(saidOf(hostWith({}), { run: byQemu }), /a fault of its driver/);
    });

    it('does not say that a process opened it that a host snapshot found with it', () => {
      const found = grouped((scenario, { groupId }) =>
        duringSnapshot(scenario, () => scenario.event('snapshot.group:begin', QEMU, { groupId })),
      );
      assert.match(
        on510({}, found),
        /qemu .*, which had it when the agent first looked, has it no/,
      );
    });

    it('claims nothing where the host cannot be asked, or was read before the group was opened', () => {
      const isUnknown = /nobody was observed to have it open, so what keeps it registered is not/;
      assert.match(on510({ fileOwners: () => undefined }), isUnknown);
      let readAt = Number.POSITIVE_INFINITY;
      const fileOwners = (since: number) => (since <= readAt ? [] : undefined);
      const runner = new ScenarioRunner({
        rules: RULES.filter(({ id }) => id === 'remove-stall'),
        host: hostWith({ traits: LINUX_5_10, fileOwners }),
      });
      const device = runner.run((scenario) => scenario.create(scenario.parent()));
      runner.run((scenario) => scenario.removeBegins(device, { as: BASH }));
      readAt = runner.world.now;
      runner.run((scenario) => {
        scenario.wait(5);
        openGroup(scenario, device, { as: QEMU });
        scenario.wait(6);
      });
      assert.match(runner.violations()[0].message, isUnknown);
      readAt = runner.world.now;
      runner.run((scenario) => scenario.wait(6));
      assert.match(runner.violations()[0].message, /qemu .*, which opened it, has it no more/);
    });
  });

  it('claims nothing where the host cannot be asked, or was read before the removal began', () => {
    const old = (since: number) => (since > 0 ? undefined : []);
    assert.match(idle([], { fileOwners: old }), /what keeps it registered is not known/);
    assert.match(
      idle([], { fileOwners: () => undefined }),
      /what keeps it registered is not known/,
    );
  });
});

describe('a holder that is blocked itself', () => {
  const waits = (stack: string[], wchan = stack[0]): BlockedTask => ({
    ...{ state: 'D (disk sleep)', wchan, stack },
  });

  it('for the lock that the remover holds is said to wait for it', () => {
    const stack = [
      '__mutex_lock.constprop.0+0x3b2/0x690',
      'pci_dev_lock+0x1c/0x30',
      'pci_reset_function+0x33/0x70',
      'reset_store+0x5b/0xa0',
      'kernfs_fop_write_iter+0x13e/0x1f0',
    ];
    const violation = violationOf(hostWith({ stuckThread: () => waits(stack) }));
    assert.match(
      violation.message,
      /qemu \(pid 600\) itself waits in pci_dev_lock \(D \(disk sleep\)\) for the lock of a device, which bash \(pid 700\) probably holds: they wait for each other, and killing either does not end that/,
    );
    assert.equal(violation.holders[0].inKernel?.stack, stack);
  });

  it('elsewhere is said to be blocked there', () => {
    const stack = ['msleep+0x2d/0x50', 'pcie_flr+0x31/0xf0', 'pci_reset_function+0x33/0x70'];
    const message = saidOf(hostWith({ stuckThread: () => waits(stack) }));
    assert.match(message, /A thread of qemu \(pid 600\) is blocked itself in msleep/);
    assert.doesNotMatch(message, /each other/);
  });

  it('is recognised by the function that it sleeps in where no stack may be read', () => {
    const stuckThread = () => ({ state: 'D (disk sleep)', wchan: 'sriov_numvfs_store' });
    assert.match(saidOf(hostWith({ stuckThread })), /they wait for each other/);
  });
});

describe('a VM that is pinned by a device which serves another VM by now', () => {
  it('is no warning, however long it lasts', () => {
    const violation = violationOf(hostWith({}), {
      rule: 'vm-pinned-by-device',
      run: (scenario: Scenario) => {
        const device = scenario.create(scenario.parent());
        const vm = scenario.createVm({ as: QEMU });
        scenario.open(device, { vm, as: QEMU });
        scenario.setKvm(device, scenario.createVm({ as: { pid: 601, comm: 'qemu' } }));
        scenario.closeVm(vm);
        scenario.wait(200);
      },
    });
    assert.equal(violation.severity, 'info');
    assert.match(violation.message, /serves the VM of qemu \(pid 601\) by now\.$/);
  });

  it('is also known by an opener that has made another VM since', () => {
    const { severity } = violationOf(hostWith({}), {
      rule: 'vm-pinned-by-device',
      run: (scenario: Scenario) => {
        const vm = scenario.createVm({ as: QEMU });
        scenario.open(scenario.create(scenario.parent()), { vm, as: QEMU });
        scenario.closeVm(vm);
        scenario.createVm({ as: QEMU });
        scenario.wait(200);
      },
    });
    assert.equal(severity, 'info');
  });
});

describe('other rules that name holders', () => {
  const owners = [owner({ deviceFiles: [{ fd: 5, device: UUID }] })];

  it('follow the attribution: a request that is ignored', () => {
    const message = saidOf(gone(owners), {
      rule: 'request-ignored',
      run: (scenario: Scenario) => {
        const device = scenario.bindPci(UUID);
        scenario.open(device, { vm: scenario.createVm(), as: QEMU });
        scenario.unbindPciBegins(device);
        scenario.wait(31);
      },
    });
    assert.match(
      message,
      /still held open by helper .*, is gone, although its driver has been requesting/,
    );
    assert.doesNotMatch(message, /times/);
  });

  it('follow the attribution: a VM that is pinned', () => {
    const message = saidOf(gone(owners), {
      rule: 'vm-pinned-by-device',
      run: (scenario: Scenario) => {
        const vm = scenario.createVm({ as: QEMU });
        scenario.open(scenario.create(scenario.parent(), { uuid: UUID }), { vm, as: QEMU });
        scenario.closeVm(vm);
        scenario.wait(11);
      },
    });
    assert.match(
      message,
      /is still held open by helper \(pid 800\); qemu \(pid 600\), .* is gone\.$/,
    );
  });

  it('follow the attribution: a UUID that is taken', () => {
    const violation = violationOf(gone(owners), {
      rule: 'uuid-held-by-dying-device',
      run: (scenario: Scenario) => {
        const parent = scenario.parent();
        const device = scenario.create(parent, { uuid: UUID });
        scenario.open(device, { as: QEMU });
        scenario.removeBegins(device, { as: BASH });
        scenario.createFails(parent, 17, { uuid: UUID });
      },
    });
    assert.match(violation.message, /is still removing .*, which is still held open by helper/);
  });

  it('do not say that a device is being removed whose removal has returned', () => {
    const message = saidOf(hostWith({}), {
      rule: 'uuid-held-by-dying-device',
      run: (scenario: Scenario) => {
        const parent = scenario.parent();
        const device = scenario.create(parent, { uuid: UUID });
        removeUnfreed(scenario, device);
        scenario.createFails(parent, 17, { uuid: UUID });
      },
    });
    assert.match(
      message,
      /whose removal by .* has returned, is not freed: something holds a reference/,
    );
    assert.doesNotMatch(message, /still removing/);
  });
});
