/** Devices that were never opened: when they are reported, and where they are named. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import { DEFAULT_THRESHOLDS } from '../../src/engine/rule.ts';
import { SECOND } from '../../src/units.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';

const EUSERS = 87;
const LXD = { pid: 700, comm: 'lxd' };
const HOURS = 3600;

function neverOpened(runner: ScenarioRunner) {
  return runner.violations().filter(({ rule }) => rule === 'never-opened');
}

describe('a device that was never opened', () => {
  it('is reported with its creator and how long it exists, until it is opened', () => {
    const runner = new ScenarioRunner({ rules: RULES });
    const device = runner.run((scenario) => {
      const created = scenario.create(scenario.parent(), { as: LXD });
      scenario.wait(6 * HOURS);
      return created;
    });
    const [violation] = neverOpened(runner);
    assert.match(violation.message, /was created on mtty by lxd \(pid 700\) 6 h ago, and nobody/);
    assert.deepEqual([violation.severity, violation.resolvedAt], ['info', 0]);
    runner.run((scenario) => {
      scenario.open(device, { vm: scenario.createVm() });
      scenario.wait(1);
    });
    assert.ok(violation.resolvedAt > 0);
  });

  it('is not reported when an open may have been missed', () => {
    const runner = new ScenarioRunner({ rules: RULES });
    runner.run((scenario) => scenario.create(scenario.parent()));
    runner.lose();
    runner.run((scenario) => scenario.wait(5 * HOURS));
    assert.deepEqual(neverOpened(runner), []);
    assert.equal(runner.engine.suppressed.get('never-opened'), undefined);
  });

  it('is no longer reported when an open may have been missed since', () => {
    const runner = new ScenarioRunner({ rules: RULES });
    runner.run((scenario) => {
      scenario.create(scenario.parent());
      scenario.wait(5 * HOURS);
    });
    runner.lose();
    runner.run((scenario) => scenario.wait(1));
    assert.ok(neverOpened(runner)[0].resolvedAt > 0);
  });

  it('is reported some at a time where many were created together', () => {
    const thresholds = { ...DEFAULT_THRESHOLDS, neverOpened: 5 * SECOND };
    const runner = new ScenarioRunner({ rules: RULES, thresholds });
    runner.run((scenario) => {
      const parent = scenario.parent();
      for (let i = 0; i < 250; i++) scenario.create(parent);
      scenario.wait(4);
    });
    const counts = [1, 2, 3].map(() => {
      runner.run((scenario) => scenario.wait(1));
      return neverOpened(runner).length;
    });
    assert.deepEqual(counts, [100, 200, 250]);
  });

  it('is named where its parent has no instance left, a few of many', () => {
    const runner = new ScenarioRunner({ rules: RULES });
    const uuids = runner.run((scenario) => {
      const parent = scenario.parent();
      const created = Array.from({ length: 8 }, () => scenario.create(parent, { as: LXD }));
      scenario.open(created[0], { vm: scenario.createVm() });
      scenario.wait(3 * HOURS);
      scenario.createFails(parent, EUSERS);
      return created.map(({ uuid }) => uuid);
    });
    const [violation] = runner.violations();
    assert.equal(violation.rule, 'instances-exhausted');
    const named = uuids.filter((uuid) => violation.message.includes(uuid));
    assert.deepEqual(named, uuids.slice(1, 6));
    assert.match(
      violation.message,
      /has 8 devices, of which 7 were never opened: .* and 2 more\.$/,
    );
    assert.match(violation.message, /\(created by lxd \(pid 700\) 3 h ago\)/);
  });
});

describe('what is repeated', () => {
  it('is one violation for the refusals of a parent, whatever UUIDs and processes asked', () => {
    const runner = new ScenarioRunner({ rules: RULES });
    runner.run((scenario) => {
      const parent = scenario.parent();
      for (let pid = 801; pid <= 872; pid++) {
        scenario.createFails(parent, EUSERS, { as: { pid, comm: 'mdevctl' } });
        scenario.wait(1);
      }
    });
    const [violation, ...others] = runner.violations();
    assert.deepEqual([violation.rule, violation.count, others], ['instances-exhausted', 72, []]);
    const { listed, otherOccurrences } = violation.processes;
    assert.deepEqual([listed.length, otherOccurrences, listed[0].task.pid], [16, 56, 801]);
    assert.equal(runner.engine.occurred.get('instances-exhausted info'), 72);
  });

  it('is one violation where a tool asks for one UUID again and again', () => {
    const runner = new ScenarioRunner({ rules: RULES });
    runner.run((scenario) => {
      const parent = scenario.parent();
      const { uuid } = scenario.create(parent);
      for (let pid = 801; pid <= 920; pid++) {
        scenario.createFails(parent, 17, { uuid, as: { pid, comm: 'mdevctl' } });
        scenario.wait(1);
      }
    });
    assert.deepEqual(
      runner.violations().map(({ rule, count }) => [rule, count]),
      [['duplicate-uuid', 120]],
    );
  });

  it('is one violation where DPDK opens a thousand devices without a VM', () => {
    const runner = new ScenarioRunner({ rules: RULES, limit: 20 });
    runner.run((scenario) => {
      const parent = scenario.parent();
      for (let i = 0; i < 1001; i++) {
        const device = scenario.create(parent);
        scenario.close(scenario.open(device, { as: { pid: 900 + i, comm: 'dpdk' } }));
      }
    });
    const found = runner.violations().filter(({ rule }) => rule === 'open-without-kvm');
    assert.deepEqual(
      found.map(({ count, devices }) => [count, devices.length]),
      [[1001, 100]],
    );
  });
});
