/** What messages say in cases that no example of a rule shows. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';

const EIO = 5;

function messageOf(run: (scenario: Scenario) => void) {
  const runner = new ScenarioRunner({ rules: RULES });
  runner.run(run);
  return runner.violations().find(({ rule }) => rule === 'open-failed')?.message ?? '';
}

describe('an open that the driver refuses', () => {
  it('says that no VM was set, where that was observed', () => {
    const message = messageOf((scenario) => {
      scenario.openEnds(scenario.openBegins(scenario.create(scenario.parent())), { error: EIO });
    });
    assert.match(message, /; no VM was set for its group, and some drivers refuse that\./);
  });

  it('does not say so where a VM was set', () => {
    const message = messageOf((scenario) => {
      const device = scenario.create(scenario.parent());
      scenario.openEnds(scenario.openBegins(device, { vm: scenario.createVm() }), { error: EIO });
    });
    assert.match(message, /EIO/);
    assert.doesNotMatch(message, /no VM was set/);
  });

  it('does not say so where it may have been missed', () => {
    const runner = new ScenarioRunner({ rules: RULES });
    const device = runner.run((scenario) => scenario.create(scenario.parent()));
    runner.lose();
    runner.run((scenario) => scenario.openEnds(scenario.openBegins(device), { error: EIO }));
    for (const { message } of runner.violations()) assert.doesNotMatch(message, /no VM was set/);
  });
});
