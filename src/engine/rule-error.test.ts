import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ScenarioRunner } from '../../test/kit/scenario-runner.ts';
import { onOpen, SOUND } from '../../test/kit/simple-rules.ts';
import type { Rule } from './rule.ts';

it('a rule that throws is reported, and the other rules continue', () => {
  const broken: Rule = {
    ...SOUND,
    id: 'broken',
    on: {
      'vfio.device.open:end': () => {
        throw new Error('a bug');
      },
    },
    onClock: () => {
      throw new Error('another');
    },
  };
  const runner = new ScenarioRunner({ rules: [broken, onOpen(() => ({}))] });
  const errors: string[] = [];
  runner.sinks.push({ ruleError: (rule, error) => errors.push(`${rule.id}: ${error}`) });
  runner.run((scenario) => {
    scenario.open(scenario.create(scenario.parent()));
    scenario.wait(1);
  });
  assert.deepEqual(errors, ['broken: Error: a bug', 'broken: Error: another']);
  assert.equal(runner.violations().length, 1);
});
