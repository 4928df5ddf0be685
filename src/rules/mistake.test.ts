import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Rule } from './rule.ts';
import { onOpen, SOUND } from './simple-rules.ts';
import { Telling } from './telling.ts';

it('a rule that fails is told, and costs the other rules nothing', () => {
  const broken: Rule = {
    ...SOUND,
    id: 'broken',
    on: {
      'vfio.device.open:end': () => {
        throw new Error('a mistake');
      },
    },
    onClock: () => {
      throw new Error('another');
    },
  };
  const telling = new Telling({ rules: [broken, onOpen(() => ({}))] });
  const told: string[] = [];
  telling.engine.onMistake = (rule, error) => told.push(`${rule.id}: ${error}`);
  telling.tell((story) => {
    story.open(story.create(story.parent()));
    story.wait(1);
  });
  assert.deepEqual(told, ['broken: Error: a mistake', 'broken: Error: another']);
  assert.equal(telling.violations().length, 1);
});
