import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Looks } from './looks.ts';

it('looks are counted by reason, from zero, and the last one is remembered', () => {
  const looks = new Looks();
  assert.deepEqual(Object.fromEntries(looks.counts), { start: 0, module: 0, loss: 0, again: 0 });
  assert.deepEqual([looks.lastBegan, looks.lastTook], [0, 0]);
  looks.count('start', 1000, 0.01);
  looks.count('loss', 2000, 0.5);
  looks.count('loss', 3000, 0.02);
  assert.deepEqual(Object.fromEntries(looks.counts), { start: 1, module: 0, loss: 2, again: 0 });
  assert.deepEqual([looks.lastBegan, looks.lastTook], [3000, 0.02]);
});
