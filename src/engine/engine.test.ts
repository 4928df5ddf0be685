import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ScenarioRunner } from '../../test/kit/scenario-runner.ts';
import { onOpen, whileOpen } from '../../test/kit/simple-rules.ts';
import type { Host } from '../events/host.ts';
import { LINUX_6_12 } from '../scenario/kernels.ts';
import { OCCURRENCE_WINDOW } from './found.ts';
import type { RuleContext } from './rule.ts';
import { runOf } from './run.ts';

describe('a finding while the kernel has missed calls that are not reported yet', () => {
  for (const [basis, raised, suppressed] of [
    ['event', 1, undefined],
    ['state', 0, 1],
    ['history', 0, 1],
  ] as const) {
    it(`is ${raised ? '' : 'not '}raised when it goes by ${basis}`, () => {
      const runner = new ScenarioRunner({
        rules: [onOpen(() => ({}), { basis })],
        hasMissed: () => true,
      });
      runner.run((scenario) => scenario.open(scenario.create(scenario.parent())));
      assert.equal(runner.violations().length, raised);
      assert.equal(runner.engine.suppressed.get('on-open'), suppressed);
    });
  }

  it('is what it was when it is known already', () => {
    let missed = false;
    const rules = [onOpen(() => ({}), { basis: 'state' })];
    const runner = new ScenarioRunner({ rules, hasMissed: () => missed });
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.run((scenario) => scenario.close(scenario.open(device)));
    missed = true;
    runner.run((scenario) => scenario.open(device));
    assert.deepEqual(runner.changes, ['raised v1', 'repeated v1']);
  });
});

describe('a one-shot violation', () => {
  it('is counted when the same object does it again', () => {
    const runner = new ScenarioRunner({ rules: [onOpen(() => ({}))] });
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    for (let i = 0; i < 3; i++) runner.run((scenario) => scenario.close(scenario.open(device)));
    const [violation, ...others] = runner.violations();
    assert.deepEqual([violation.count, violation.ongoing, others.length], [3, false, 0]);
    assert.ok(violation.lastSeen > violation.firstSeen);
    assert.equal(violation.message, `opened at ${violation.lastSeen}`);
    assert.deepEqual(runner.changes, ['raised v1', 'repeated v1', 'repeated v1']);
    assert.deepEqual([...runner.engine.occurred], [['on-open warning', 3]]);
  });

  it('is the same one when a later incarnation of the name does it, and describes the latest', () => {
    const runner = new ScenarioRunner({ rules: [onOpen(({ open }) => ({ task: open?.task }))] });
    const parent = runner.run((scenario) => scenario.parent());
    const uuid = '11111111-2222-4333-8444-555555555555';
    for (const pid of [701, 702]) {
      runner.run((scenario) => {
        const device = scenario.create(parent, { uuid });
        scenario.close(scenario.open(device, { as: { pid, comm: 'vmm' } }));
        if (pid === 701) scenario.remove(device);
      });
    }
    const [violation, ...others] = runner.violations();
    assert.deepEqual([violation.count, others.length], [2, 0]);
    assert.equal(violation.incarnation, runner.device(uuid)?.serial);
    assert.equal(violation.evidence.at(-1)?.pid, 702);
    assert.equal(violation.process?.task.pid, 702);
    assert.deepEqual(
      violation.processes.listed.map(({ task, occurrences }) => [task.pid, occurrences]),
      [
        [701, 1],
        [702, 1],
      ],
    );
  });

  it('is one for what the rule calls the same, with a bounded list of processes and devices', () => {
    const runner = new ScenarioRunner({
      rules: [onOpen(({ open }) => ({ task: open?.task, sameAs: 'so' }))],
    });
    const parent = runner.run((scenario) => scenario.parent());
    for (let i = 0; i < 120; i++) {
      runner.run((scenario) => {
        const device = scenario.create(parent);
        const as = { pid: 700 + i, comm: 'vmm' };
        for (let k = 0; k < 2; k++) scenario.close(scenario.open(device, { as }));
      });
    }
    const [violation, ...others] = runner.violations();
    assert.deepEqual([violation.count, others.length], [240, 0]);
    const { listed, otherOccurrences } = violation.processes;
    assert.equal(listed.length, 16);
    assert.ok(listed.every(({ occurrences }) => occurrences === 2));
    assert.equal(otherOccurrences, 240 - 32);
    assert.equal(violation.devices.length, 100);
    assert.equal(violation.device, [...runner.world.devices].at(-1)?.name);
  });

  it('is another one when it comes again after the window', () => {
    const runner = new ScenarioRunner({ rules: [onOpen(() => ({}))] });
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    const window = OCCURRENCE_WINDOW / 1e9;
    for (const wait of [window - 10, window + 10, 0]) {
      runner.run((scenario) => {
        scenario.close(scenario.open(device));
        scenario.wait(wait);
      });
    }
    assert.deepEqual(
      runner.violations().map(({ count }) => count),
      [2, 1],
    );
  });

  it('is another violation when another object does it', () => {
    const runner = new ScenarioRunner({ rules: [onOpen(() => ({}))] });
    const parent = runner.run((scenario) => scenario.parent());
    for (let i = 0; i < 2; i++) runner.run((scenario) => scenario.open(scenario.create(parent)));
    assert.deepEqual(
      runner.violations().map(({ id, count }) => [id, count]),
      [
        ['v1', 1],
        ['v2', 1],
      ],
    );
  });

  it('is another violation when another rule finds it', () => {
    const rules = [onOpen(() => ({})), onOpen(() => ({}), { id: 'other' })];
    const runner = new ScenarioRunner({ rules });
    runner.run((scenario) => scenario.open(scenario.create(scenario.parent())));
    assert.deepEqual(
      runner.violations().map(({ rule }) => rule),
      ['on-open', 'other'],
    );
  });

  it('is identified by its message when it is about no object', () => {
    const runner = new ScenarioRunner({
      rules: [onOpen(({ event }) => ({ device: undefined, message: `${event.groupId}` }))],
    });
    runner.run((scenario) => {
      const parent = scenario.parent();
      const [first, second] = [scenario.create(parent), scenario.create(parent)];
      for (const device of [first, second, first]) scenario.close(scenario.open(device));
    });
    assert.deepEqual(
      runner.violations().map(({ count }) => count),
      [2, 1],
    );
  });

  it('stays as severe as it has been at its worst', () => {
    const severities = ['warning', 'error', 'info'] as const;
    let next = 0;
    const runner = new ScenarioRunner({
      rules: [onOpen(() => ({ severity: severities[next++] }))],
    });
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    for (const _ of severities) runner.run((scenario) => scenario.close(scenario.open(device)));
    assert.equal(runner.violations()[0].severity, 'error');
    assert.deepEqual(
      [...runner.engine.occurred],
      [
        ['on-open warning', 1],
        ['on-open error', 1],
        ['on-open info', 1],
      ],
    );
  });
});

describe('an ongoing violation', () => {
  it('is one violation however many ticks see it', () => {
    const runner = new ScenarioRunner({ rules: [whileOpen()] });
    runner.run((scenario) => {
      scenario.open(scenario.create(scenario.parent()));
      scenario.wait(30);
    });
    const [violation, ...others] = runner.violations();
    assert.equal(others.length, 0);
    assert.deepEqual([violation.count, violation.ongoing, violation.resolvedAt], [1, true, 0]);
    assert.equal(violation.lastSeen - violation.firstSeen, 29e9);
    assert.deepEqual(runner.changes, ['raised v1']);
    assert.deepEqual(runner.engine.open(), [violation]);
  });

  it('is reported again when it gets worse, once', () => {
    const start = 1000e9;
    const severity = ({ now }: RuleContext) => (now > start + 5e9 ? 'error' : 'warning');
    const runner = new ScenarioRunner({
      rules: [whileOpen((context) => ({ severity: severity(context) }))],
    });
    runner.run((scenario) => {
      scenario.open(scenario.create(scenario.parent()));
      scenario.wait(20);
    });
    const [violation] = runner.violations();
    assert.deepEqual([violation.severity, violation.count], ['error', 1]);
    assert.deepEqual(runner.changes, ['raised v1', 'escalated v1']);
    assert.deepEqual(
      [...runner.engine.occurred],
      [
        ['while-open warning', 1],
        ['while-open error', 1],
      ],
    );
  });

  it('is resolved, and raised as a new one when it comes back', () => {
    const runner = new ScenarioRunner({ rules: [whileOpen()] });
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    for (let i = 0; i < 2; i++) {
      runner.run((scenario) => {
        const open = scenario.open(device);
        scenario.wait(2);
        scenario.close(open);
        scenario.wait(2);
      });
    }
    assert.deepEqual(runner.changes, ['raised v1', 'resolved v1', 'raised v2', 'resolved v2']);
    const [first, second] = runner.violations();
    assert.ok(first.resolvedAt > first.lastSeen && first.resolvedAt < second.firstSeen);
    assert.deepEqual(runner.engine.open(), []);
  });

  it('shows how long it has lasted, and renews its attribution only every few seconds', () => {
    let asked = 0;
    const host: Host = {
      traits: LINUX_6_12,
      pidsWithKvmFiles: () => undefined,
      hasDeviceFile: () => {
        asked++;
        return true;
      },
    };
    const runner = new ScenarioRunner({ rules: [whileOpen()], host });
    runner.run((scenario) => {
      scenario.open(scenario.create(scenario.parent()));
      scenario.wait(14);
    });
    const [violation] = runner.violations();
    assert.equal(violation.message, `open at ${violation.lastSeen}`);
    assert.equal(asked, 3, 'at first, and at 5 s and 10 s');
  });

  it('is not resolved twice, nor when it never was', () => {
    const runner = new ScenarioRunner({ rules: [whileOpen()] });
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.run((scenario) => scenario.close(scenario.open(device)));
    assert.deepEqual(runner.changes, []);
  });
});

describe('the id of a violation', () => {
  const engineOf = (run: string) => {
    const runner = new ScenarioRunner({ rules: [onOpen(() => ({}))], run });
    const parent = runner.run((scenario) => scenario.parent());
    for (let i = 0; i < 2; i++) runner.run((scenario) => scenario.open(scenario.create(parent)));
    return runner;
  };

  it('is its own in this run and in all others', () => {
    const runs = [runOf('a boot', 1e9), runOf('a boot', 2e9), runOf('another', 1e9)];
    const ids = runs.flatMap((id) =>
      engineOf(id)
        .violations()
        .map(({ id }) => id),
    );
    assert.equal(new Set(ids).size, 6);
    for (const id of ids) assert.match(id, /^v[12]-[0-9a-f]{10}$/);
  });

  it('is the same when the same recording is replayed', () => {
    assert.equal(runOf('a boot', 123_456_789_012), runOf('a boot', 123_456_789_012));
  });

  it('leads to it', () => {
    const runner = engineOf('run');
    const [first, second] = runner.violations();
    assert.deepEqual([runner.engine.find('v1-run'), runner.engine.find('v2-run')], [first, second]);
    assert.equal(runner.engine.find('v1-other'), undefined);
  });
});
