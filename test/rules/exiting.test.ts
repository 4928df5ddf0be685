/** A process may take longer to exit than rules wait, and no rule fires for that. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import type { Traits } from '../../src/events/traits.ts';
import { LINUX_6_1, LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';

const QEMU = { pid: 600, comm: 'qemu' };
const PATIENT = 60;

/** One rule, on a host where QEMU exits for as long as `exiting` has its pid. */
function runnerOf(id: string, traits: Traits) {
  const exiting = new Set([QEMU.pid]);
  const runner = new ScenarioRunner({
    rules: RULES.filter((rule) => rule.id === id),
    host: {
      traits,
      pidsWithKvmFiles: () => new Set(),
      isExiting: (pid) => exiting.has(pid),
    },
  });
  return { runner, exiting };
}

describe('while a process exits', () => {
  it('kvm-cleared-while-open waits for it to close the device', () => {
    const { runner, exiting } = runnerOf('kvm-cleared-while-open', LINUX_6_12);
    runner.run((scenario) => {
      const device = scenario.create(scenario.parent());
      scenario.open(device, { vm: scenario.createVm({ as: QEMU }), as: QEMU });
      scenario.clearKvm(device, { exiting: true });
      scenario.wait(PATIENT);
    });
    assert.deepEqual(runner.changes, []);
    // A child has it open, too.
    exiting.clear();
    runner.run((scenario) => scenario.wait(1));
    assert.deepEqual(runner.changes, ['raised v1']);
  });

  it('kvm-cleared-while-open has nothing to report when it has closed the device', () => {
    const { runner, exiting } = runnerOf('kvm-cleared-while-open', LINUX_6_12);
    const open = runner.run((scenario) => {
      const device = scenario.create(scenario.parent());
      const opened = scenario.open(device, { vm: scenario.createVm({ as: QEMU }), as: QEMU });
      scenario.clearKvm(device, { exiting: true });
      scenario.wait(PATIENT);
      return opened;
    });
    runner.run((scenario) => scenario.close(open));
    exiting.clear();
    runner.run((scenario) => scenario.wait(PATIENT));
    assert.deepEqual(runner.changes, []);
  });

  it('kvm-destroyed-while-captured waits for it to close the device', () => {
    const { runner, exiting } = runnerOf('kvm-destroyed-while-captured', LINUX_6_1);
    runner.run((scenario) => {
      const vm = scenario.createVm({ as: QEMU });
      scenario.open(scenario.create(scenario.parent()), { vm, as: QEMU });
      scenario.putKvm(vm);
      scenario.putKvm(vm);
      scenario.wait(PATIENT);
    });
    assert.deepEqual(runner.changes, []);
    exiting.clear();
    runner.run((scenario) => scenario.wait(1));
    assert.deepEqual(runner.changes, ['raised v1']);
  });

  it('kvm-ref-leak takes it for a holder of its VM', () => {
    const { runner, exiting } = runnerOf('kvm-ref-leak', LINUX_6_12);
    runner.run((scenario) => {
      const vm = scenario.createVm({ as: QEMU });
      scenario.getKvm(vm);
      scenario.closeVm(vm);
      scenario.wait(PATIENT);
    });
    assert.deepEqual(runner.changes, []);
    exiting.clear();
    runner.run((scenario) => scenario.wait(10));
    assert.deepEqual(runner.changes, ['raised v1']);
  });
});
