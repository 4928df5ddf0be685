import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { faults, type Schema, withDefaults } from './schema.ts';

const CLOSED: Schema = {
  type: 'object',
  properties: {
    size: { type: 'integer', minimum: 1, maximum: 8, default: 4 },
    word: { enum: ['a', 'b'], optional: true },
    list: { type: 'array', items: { type: 'string' }, default: [] },
  },
  default: {},
};
const OPEN: Schema = { ...CLOSED, additionalProperties: true };
const COUNTS: Schema = { type: 'object', additionalProperties: { type: 'integer', minimum: 0 } };

/** Each fault as `path: message`. */
function found(schema: Schema, value: unknown): string[] {
  return faults(schema, value).map(({ path, message }) => `${path.join('.')}: ${message}`);
}

describe('the check of a value', () => {
  it('finds nothing in what fits, optional keys left out or not', () => {
    assert.deepEqual(found(CLOSED, { size: 1, list: ['x'] }), []);
    assert.deepEqual(found(CLOSED, { size: 8, list: [], word: 'b' }), []);
    assert.deepEqual(found(COUNTS, { constructor: 1, '': 0 }), []);
  });

  for (const [title, value, expected] of [
    ['another type', 7, [': must be a mapping (key: value)']],
    ['null', null, [': must be a mapping (key: value)']],
    ['a list instead of a mapping', [], [': must be a mapping (key: value)']],
    ['a missing key', { size: 1 }, ['list: is missing']],
    ['an unknown key', { size: 1, list: [], more: 1 }, ['more: is not known']],
    [
      'a key that every object inherits',
      { size: 1, list: [], constructor: 1 },
      ['constructor: is not known'],
    ],
    ['too small a number', { size: 0, list: [] }, ['size: must be at least 1']],
    ['too large a number', { size: 9, list: [] }, ['size: must be at most 8']],
    ['a fraction', { size: 1.5, list: [] }, ['size: must be a whole number']],
    ['no number', { size: Number.NaN, list: [] }, ['size: must be a whole number']],
    ['another word', { size: 1, list: [], word: 'c' }, ['word: must be one of a, b']],
    ['a wrong item', { size: 1, list: ['x', 2] }, ['list.1: must be a string']],
    ['several faults', { size: 0, list: 1 }, ['size: must be at least 1', 'list: must be a list']],
  ] as const) {
    it(`finds ${title}`, () => assert.deepEqual(found(CLOSED, value), expected));
  }

  it('accepts more keys only where the schema does', () => {
    assert.deepEqual(found(OPEN, { size: 1, list: [], more: 1 }), []);
    assert.deepEqual(found(COUNTS, { a: -1 }), ['a: must be at least 0']);
  });
});

it('defaults fill what was left out, in a copy', () => {
  const given = { word: 'a' };
  const filled = withDefaults(CLOSED, given) as { list: string[] };
  assert.deepEqual(filled, { word: 'a', size: 4, list: [] });
  assert.deepEqual(given, { word: 'a' });
  (filled.list as string[]).push('x');
  assert.deepEqual(withDefaults(CLOSED, {}), { size: 4, list: [], word: undefined });
});
