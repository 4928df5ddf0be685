import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readOutputs, shownOutputs } from '../../test/e2e/runbooks/outputs.ts';
import { isRun, NOT_RUN } from '../../test/e2e/runbooks/stand-ins.ts';
import { ALERTS } from './catalogue.ts';
import { sample, shortened } from './sample.ts';

describe('what a command printed', () => {
  it('is shown below the command when it is short', () => {
    assert.equal(
      sample('a\nb', true, '   '),
      '   In the lab, with this fault, it printed:\n\n   ```text\n   a\n   b\n   ```',
    );
  });

  it('is folded when it is long', () => {
    const text = sample('y\n'.repeat(9), false, '');
    assert.match(text, /^<details><summary>In the lab, without this fault, .*<\/details>$/s);
  });

  it('is shortened in both directions, a log to its last lines', () => {
    const text = `${'x'.repeat(500)}\n${'y\n'.repeat(90)}z`;
    assert.match(shortened(text), /^x{399}…\n(y\n){79}…$/);
    assert.match(shortened(text, true), /^…\n(y\n){13}z$/);
    assert.equal(shortened('a\n\tb'), 'a\n  b');
  });
});

/** Alerts that are newer than outputs.json: the next run of runbooks.e2e.test.ts with VFIOSCOPE_KEEP adds them. */
const NEWER: readonly string[] = [];

describe('the outputs of a stalled call', () => {
  for (const name of ['VfioscopeCallStalled', 'VfioscopeRemovalStalled']) {
    it(`${name}: are not cut before the blocked task and who waits behind it`, () => {
      const { outputs } = readOutputs()[name];
      const [, printed = ''] =
        Object.entries(outputs).find(([command]) => command.includes('/violations?')) ?? [];
      assert.match(printed, /"blocked": \{[^}]*"stack"/s);
      assert.match(printed, /"waiters": /);
      assert.doesNotMatch(printed, /…$/);
    });
  }

  it('are shown only where the agent has what the alert is about', () => {
    assert.equal(shownOutputs().VfioscopeOverBudget, undefined);
    assert.ok(shownOutputs().VfioscopeCallStalled);
  });
});

describe('the commands of runbooks', () => {
  const all = readOutputs();
  for (const { name, runbook } of ALERTS) {
    it(`${name}: were all run on a real kernel, but for those that are listed`, () => {
      const commands = runbook.confirm.map(({ command }) => command).filter(isRun);
      const isNewer = NEWER.includes(name);
      assert.deepEqual(Object.keys(all[name]?.outputs ?? {}), isNewer ? [] : commands);
    });
  }

  it('are listed only where one of a few programs is missing in the lab', () => {
    for (const command of Object.keys(NOT_RUN)) {
      assert.match(
        command,
        /systemctl|virsh|localhost:9090|journalctl .*(-b -1|-u (UNIT|systemd-journald|prometheus))/,
      );
    }
    assert.equal(Object.keys(NOT_RUN).length, 13);
  });
});
