/** Calls that do not return: what is said while they last and when they end, and which states they show. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import type { Host } from '../../src/events/host.ts';
import { inProgress, shownStates } from '../../src/lifecycle/operations.ts';
import {
  attachCdevBegins,
  attachCdevEnds,
  bindCdev,
  bindCdevBegins,
  detachCdevBegins,
  openCdev,
  type ScenarioCdev,
  setCdevKvm,
} from '../../src/scenario/cdev.ts';
import { namedVfio, plainMdev, plainVfio } from '../../src/scenario/fields.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { destroyVmBegins, destroyVmEnds } from '../../src/scenario/kvm.ts';
import {
  bindPciBegins,
  bindPciEnds,
  emptySnapshot,
  lose,
  unbindBegins,
  unregisterBegins,
  unregisterEnds,
} from '../../src/scenario/vfio.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';

const QEMU = { pid: 600, comm: 'qemu', cgroup: 2200, uid: 107 };
const UNIT = 'machine-qemu-1-a.scope';
const EIO = 5;

function hostWith(more: Partial<Host> = {}): Host {
  return {
    traits: LINUX_6_12,
    pidsWithKvmFiles: () => new Set(),
    controlGroup: ({ cgroup }) => (cgroup ? { path: `/${UNIT}`, unit: UNIT } : undefined),
    blockedTask: () => ({ state: 'D (disk sleep)', wchan: 'pci_dev_wait' }),
    ...more,
  };
}

function runnerOf(id: string, host = hostWith()): ScenarioRunner {
  return new ScenarioRunner({ rules: RULES.filter((rule) => rule.id === id), host });
}

describe('a stalled open', () => {
  it('names caller, unit, VM, time and where it is blocked, and when it returns how long it took', () => {
    const runner = runnerOf('open-stall');
    const opening = runner.run((scenario) => {
      const device = scenario.bindPci('0000:01:00.0');
      const begun = scenario.openBegins(device, {
        vm: scenario.createVm({ as: QEMU }),
        as: QEMU,
      });
      scenario.wait(25);
      return begun;
    });
    const [violation] = runner.violations();
    assert.equal(
      violation.message,
      `The open of 0000:01:00.0 by qemu (pid 600, uid 107, ${UNIT}) for its own VM has been running for ` +
        '25 s, blocked in pci_dev_wait (D).',
    );
    assert.equal(violation.blocked?.inKernel?.wchan, 'pci_dev_wait');
    assert.equal(violation.severity, 'warning');
    runner.run((scenario) => scenario.wait(36));
    assert.equal(violation.severity, 'error');
    runner.run((scenario) => {
      scenario.pass(0.25);
      scenario.openEnds(opening, { error: EIO });
    });
    assert.deepEqual(runner.changes, ['raised v1', 'escalated v1', 'resolved v1']);
    assert.match(violation.message, /for its own VM took 61 s and failed with EIO\.$/);
    assert.equal(violation.blocked?.inKernel?.wchan, 'pci_dev_wait', 'it stays as it was');
  });

  it('says nothing of the kernel where the host cannot be asked, as in a replay', () => {
    const runner = runnerOf('open-stall', {
      traits: LINUX_6_12,
      pidsWithKvmFiles: () => undefined,
    });
    runner.run((scenario) => {
      scenario.openBegins(scenario.bindPci('0000:01:00.0'));
      scenario.wait(25);
    });
    assert.match(
      runner.violations()[0].message,
      /qemu \(pid 600, uid 0\) has been running for 25 s\.$/,
    );
  });

  it('is one violation of the oldest call, which the return of a later one does not resolve', () => {
    const runner = runnerOf('open-stall');
    runner.run((scenario) => {
      const device = scenario.bindPci('0000:01:00.0');
      scenario.openBegins(device, { as: QEMU });
      const second = scenario.openBegins(device, { as: { pid: 700, comm: 'dpdk' } });
      scenario.wait(15);
      scenario.openEnds(second);
      scenario.wait(1);
    });
    assert.deepEqual(runner.changes, ['raised v1']);
    assert.match(runner.violations()[0].message, /by qemu .* 16 s/);
  });

  it('is not reported when events were lost since it began, and its return may be among them', () => {
    const runner = runnerOf('open-stall');
    runner.run((scenario) => {
      scenario.openBegins(scenario.bindPci('0000:01:00.0'));
      lose(scenario);
      emptySnapshot(scenario);
      scenario.wait(60);
    });
    assert.deepEqual(runner.violations(), []);
  });

  it('says in open-failed how long the open took', () => {
    const runner = runnerOf('open-failed');
    runner.run((scenario) => {
      const opening = scenario.openBegins(scenario.bindPci('0000:01:00.0'));
      scenario.wait(25);
      scenario.openEnds(opening, { error: EIO });
    });
    assert.match(
      runner.violations()[0].message,
      /: EIO after 25 s, returned by the open of its driver/,
    );
  });
});

describe('a stalled call of a cdev', () => {
  const cdevOf = (runner: ScenarioRunner): ScenarioCdev =>
    runner.run((scenario) => openCdev(scenario, scenario.bindPci('0000:01:00.0'), { as: QEMU }));
  const state = ({ world }: ScenarioRunner) => shownStates(world)([...world.devices][0]);

  it('is the bind to an iommufd, which waits for a lock, and is an open in progress', () => {
    const runner = runnerOf('open-stall');
    const cdev = cdevOf(runner);
    runner.run((scenario) => {
      setCdevKvm(scenario, cdev, scenario.createVm({ as: QEMU }));
      bindCdevBegins(scenario, cdev);
      scenario.wait(1200);
    });
    assert.equal(inProgress(runner.world, 'open').length, 1);
    assert.equal(state(runner), 'opening');
    const [violation] = runner.violations();
    assert.equal(
      violation.message,
      `The bind of the cdev vfio${cdev.device.key} of 0000:01:00.0 to an iommufd by qemu (pid 600, uid 107, ` +
        `${UNIT}) for its own VM has been running for 1200 s, blocked in pci_dev_wait (D).`,
    );
    assert.equal(violation.blocked?.task.pid, QEMU.pid);
    runner.run((scenario) => {
      scenario.bindCdev({ device: cdev.device, key: cdev.key, task: QEMU }, cdev.vm);
    });
    assert.deepEqual(runner.changes, ['raised v1', 'escalated v1'], 'the bind has not returned');
    runner.run((scenario) => {
      const fields = { ...plainVfio(cdev.device), file: cdev.key };
      scenario.event('vfio.cdev.bind:end', QEMU, fields);
    });
    assert.deepEqual(runner.changes, ['raised v1', 'escalated v1', 'resolved v1']);
    assert.equal(inProgress(runner.world, 'open').length, 0);
    assert.equal(state(runner), 'open');
  });

  it('is the close, which waits for the lock before it closes the device', () => {
    const runner = runnerOf('close-stall');
    const cdev = cdevOf(runner);
    runner.run((scenario) => {
      bindCdev(scenario, cdev);
      const file = { file: cdev.key };
      scenario.event('vfio.cdev.close:begin', QEMU, { ...namedVfio(cdev.device), ...file });
      scenario.event('vfio.cdev.unbind:begin', QEMU, { ...plainVfio(cdev.device), ...file });
      scenario.wait(11);
    });
    assert.match(
      runner.violations()[0].message,
      /^The close of the cdev of 0000:01:00\.0 by qemu .* has been running for 11 s/,
    );
  });

  it('is an attachment or a detachment, each of which is an operation', () => {
    const runner = runnerOf('call-stall');
    const cdev = cdevOf(runner);
    runner.run((scenario) => {
      bindCdev(scenario, cdev);
      attachCdevBegins(scenario, cdev);
      scenario.wait(31);
    });
    assert.equal(inProgress(runner.world, 'attach').length, 1);
    runner.run((scenario) => attachCdevEnds(scenario, cdev));
    assert.equal(inProgress(runner.world, 'attach').length, 0);
    runner.run((scenario) => {
      detachCdevBegins(scenario, cdev);
      scenario.wait(31);
    });
    assert.equal(inProgress(runner.world, 'detach').length, 1);
    const [attach, detach] = runner.violations().map(({ message }) => message);
    assert.match(attach, /^The attachment of 0000:01:00\.0 to an address space .* took 31 s\.$/);
    assert.match(detach, /^The detachment of 0000:01:00\.0 from .* has been running for 31 s/);
  });
});

describe('a driver that does not return from its remove callback', () => {
  it('is blocked in the process that unbound it, also when another one removes the device since', () => {
    const runner = runnerOf('remove-stall');
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const removal = { device, task: { pid: 700, comm: 'admin' }, idle: true };
    runner.run((scenario) => {
      unbindBegins(scenario, removal);
      scenario.removeBegins(device, { as: { pid: 701, comm: 'remover' }, idle: true });
      scenario.wait(11);
    });
    const [violation] = runner.violations();
    assert.deepEqual(
      [violation.process?.task.comm, violation.blocked?.task.comm],
      ['admin', 'admin'],
    );
    assert.match(violation.message, /by admin \(pid 700\) has been in the driver/);
  });

  it('is one violation, which ends when the driver begins to unregister the device', () => {
    const runner = runnerOf('remove-stall');
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const removal = { device, task: { pid: 700, comm: 'admin' }, idle: true };
    runner.run((scenario) => {
      unbindBegins(scenario, removal);
      scenario.wait(11);
      unregisterBegins(scenario, removal);
      unregisterEnds(scenario, device, { as: removal.task });
      scenario.freeVdev(device);
      scenario.event('mdev.unbind:end', removal.task, plainMdev(device));
      scenario.wait(2);
    });
    assert.deepEqual(runner.changes, ['raised v1', 'resolved v1']);
    assert.match(runner.violations()[0].message, /by admin \(pid 700\) took 11 s in the driver/);
  });
});

describe('many stalls at once', () => {
  it('ask the host about a few of them at each tick, and about all within some', () => {
    let asked = 0;
    const blockedTask = () => {
      asked++;
      return { state: 'D (disk sleep)', wchan: 'pci_dev_wait' };
    };
    const runner = runnerOf('open-stall', hostWith({ blockedTask }));
    runner.run((scenario) => {
      for (let i = 0; i < 100; i++) {
        const device = scenario.bindPci(`0000:01:00.${i}`);
        scenario.openBegins(device, { as: { pid: 1000 + i, comm: 'qemu' } });
      }
      scenario.wait(9);
    });
    asked = 0;
    runner.run((scenario) => scenario.wait(1));
    assert.equal(runner.violations().length, 100);
    // Two for each call that is asked about, and one for those that may become stalls.
    assert.ok(asked <= 60, `${asked} at the first tick`);
  });
});

describe('operations in progress', () => {
  it('are over when a removal has returned, although the device is not freed', () => {
    const runner = new ScenarioRunner();
    const states = () => [...runner.world.devices].map(shownStates(runner.world));
    const parent = runner.run((scenario) => scenario.parent());
    const device = runner.run((scenario) => scenario.create(parent));
    const removal = runner.run((scenario) => scenario.removeBegins(device, { idle: true }));
    runner.run((scenario) => scenario.unbindWithoutUnregister(removal));
    assert.deepEqual(states(), ['removing']);
    runner.run((scenario) => scenario.removeEnds(removal));
    assert.deepEqual(states(), ['removed']);
    runner.run((scenario) => scenario.freeMdev(device, removal.task));
    assert.deepEqual(states(), []);
  });

  it('are shown as states of devices and VMs while they last', () => {
    const runner = new ScenarioRunner();
    const state = () => shownStates(runner.world)([...runner.world.devices][0]);
    const pci = runner.run((scenario) => bindPciBegins(scenario, '0000:01:00.0'));
    assert.equal(state(), 'binding');
    runner.run((scenario) => bindPciEnds(scenario, pci));
    assert.equal(state(), 'bound');
    const vm = runner.run((scenario) => scenario.createVm());
    const opening = runner.run((scenario) => scenario.openBegins(pci, { vm }));
    assert.equal(state(), 'opening');
    runner.run((scenario) => scenario.openEnds(opening));
    assert.equal(state(), 'open');
    runner.run((scenario) => scenario.closeBegins(opening));
    assert.equal(state(), 'closing');
    runner.run((scenario) => scenario.closeEnds(opening));
    assert.equal(state(), 'bound');
    runner.run((scenario) => destroyVmBegins(scenario, vm));
    assert.equal(runner.onlyVm().state, 'destroying');
    assert.equal(inProgress(runner.world, 'vm_destroy').length, 1);
    runner.run((scenario) => destroyVmEnds(scenario, vm));
    assert.equal(runner.world.vms.size, 0);
  });

  it('count nested calls of one thread once', () => {
    const runner = new ScenarioRunner();
    runner.run((scenario) => {
      const device = scenario.create(scenario.parent());
      scenario.openBegins(device);
      scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
      scenario.createBegins(scenario.parent({ name: 'other' }), { as: { pid: 701, comm: 'sh' } });
    });
    const counts = (['open', 'remove', 'create', 'bind'] as const).map(
      (name) => inProgress(runner.world, name).length,
    );
    assert.deepEqual(counts, [1, 1, 1, 0]);
  });
});
