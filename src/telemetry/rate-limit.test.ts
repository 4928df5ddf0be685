import assert from 'node:assert/strict';
import { it } from 'node:test';
import { SECOND } from '../units.ts';
import { RateLimit } from './rate-limit.ts';

/** How many of so many lines are admitted. */
function admitted(limit: RateLimit, rule: string, lines: number, now: number): number {
  let count = 0;
  for (let i = 0; i < lines; i++) if (limit.admits(rule, now)) count++;
  return count;
}

it('each rule may write 30 lines a minute', () => {
  const limit = new RateLimit();
  assert.equal(admitted(limit, 'a', 100, 0), 30);
  assert.equal(admitted(limit, 'b', 30, 1 * SECOND), 30);
  assert.equal(admitted(limit, 'a', 10, 59 * SECOND), 0);
  assert.deepEqual([...limit.suppressed], [['a', 80]]);
});

it('the number of suppressed lines is returned when the minute is over, and only then', () => {
  const limit = new RateLimit();
  admitted(limit, 'a', 35, 0);
  admitted(limit, 'b', 5, 0);
  assert.deepEqual(limit.end(59 * SECOND), []);
  assert.deepEqual(limit.end(60 * SECOND), [{ rule: 'a', lines: 5 }]);
  assert.deepEqual(limit.end(61 * SECOND), []);
  assert.equal(admitted(limit, 'a', 31, 62 * SECOND), 30);
});

it('what was suppressed last is returned at the end', () => {
  const limit = new RateLimit();
  admitted(limit, 'a', 31, 0);
  assert.deepEqual(limit.end(Number.POSITIVE_INFINITY), [{ rule: 'a', lines: 1 }]);
});
