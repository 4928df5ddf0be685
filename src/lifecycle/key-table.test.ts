import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { cases } from '../../test/kit/random.ts';
import { KeyTable } from './key-table.ts';

type Key = readonly [low: number, high: number];

function find<T>(table: KeyTable<T>, [low, high]: Key): T | undefined {
  return table.find(Int32Array.of(0, low, high), 1);
}

// Few values, so that the same slots and the same low words occur often.
const key: fc.Arbitrary<Key> = fc.tuple(
  fc.oneof(
    fc.nat(130),
    fc.constantFrom(191, 192, 255, 256, 2 ** 31, 2 ** 31 + 63, 2 ** 32 - 64, 2 ** 32 - 1),
  ),
  fc.oneof(fc.nat(3), fc.constant(2 ** 32 - 1)),
);
const operations = fc.array(fc.tuple(fc.constantFrom('set', 'set', 'delete'), key), {
  maxLength: 400,
  size: 'max',
});

describe('KeyTable', () => {
  it('has the same content as a Map after any sequence of sets and deletes', () => {
    fc.assert(
      fc.property(operations, (steps) => {
        const table = new KeyTable<number>();
        const model = new Map<string, readonly [Key, number]>();
        const touched = new Map<string, Key>();
        for (const [i, [operation, at]] of steps.entries()) {
          touched.set(`${at}`, at);
          if (operation === 'set') {
            table.set(...at, i);
            model.set(`${at}`, [at, i]);
          } else {
            const held = model.get(`${at}`)?.[1] ?? -1;
            table.delete(...at, held);
            model.delete(`${at}`);
          }
          assert.equal(table.size, model.size);
        }
        for (const [name, at] of touched) assert.equal(find(table, at), model.get(name)?.[1]);
      }),
      cases(300),
    );
  });

  it('finds entries that were displaced by an entry that has been deleted', () => {
    // All hash to the last slot of the initial table, so they wrap around to its start.
    const keys: Key[] = [0, 1, 2, 3, 4].map((high) => [63, high]);
    for (const gone of keys) {
      const table = new KeyTable<Key>();
      for (const one of keys) table.set(...one, one);
      table.delete(...gone, gone);
      for (const one of keys) assert.equal(find(table, one), one === gone ? undefined : one);
    }
  });

  it('does not move an entry in front of the slot that it hashes to', () => {
    const table = new KeyTable<string>();
    table.set(10, 0, 'a');
    table.set(10, 1, 'displaced');
    table.set(12, 0, 'at home');
    table.delete(10, 0, 'a');
    assert.equal(find(table, [12, 0]), 'at home');
    assert.equal(find(table, [10, 1]), 'displaced');
  });

  it('distinguishes keys that share one of their words', () => {
    const table = new KeyTable<string>();
    table.set(1, 2, 'a');
    table.set(1, 3, 'b');
    table.set(4, 2, 'c');
    assert.deepEqual(
      [find(table, [1, 2]), find(table, [1, 3]), find(table, [4, 2]), find(table, [4, 3])],
      ['a', 'b', 'c', undefined],
    );
  });

  it('replaces the object of a key that is set again', () => {
    const table = new KeyTable<string>();
    table.set(1, 2, 'old');
    table.set(1, 2, 'new');
    assert.equal(find(table, [1, 2]), 'new');
    assert.equal(table.size, 1);
  });

  it('ignores the deletion of a key that it does not contain', () => {
    const table = new KeyTable<string>();
    table.set(1, 0, 'a');
    table.delete(1, 9, 'a');
    table.delete(65, 0, 'a');
    assert.equal(table.size, 1);
    assert.equal(find(table, [1, 0]), 'a');
  });

  it('keeps a key that has been set to another object since', () => {
    const table = new KeyTable<string>();
    table.set(1, 0, 'first');
    table.set(1, 0, 'second');
    table.delete(1, 0, 'first');
    assert.equal(find(table, [1, 0]), 'second');
    table.delete(1, 0, 'second');
    assert.equal(table.size, 0);
  });

  it('keeps a key that belongs to another object', () => {
    const table = new KeyTable<string>();
    table.set(1, 2, 'new');
    table.delete(1, 2, 'old');
    assert.equal(find(table, [1, 2]), 'new');
    assert.equal(table.size, 1);
  });

  it('grows to thousands of entries, and deletes them all', () => {
    const table = new KeyTable<number>();
    for (let i = 0; i < 5000; i++) table.set(Math.imul(i, 0x9e3779b1) >>> 0, i, i);
    assert.equal(table.size, 5000);
    for (let i = 0; i < 5000; i++) {
      assert.equal(find(table, [Math.imul(i, 0x9e3779b1) >>> 0, i]), i);
    }
    for (let i = 0; i < 5000; i++) table.delete(Math.imul(i, 0x9e3779b1) >>> 0, i, i);
    assert.equal(table.size, 0);
  });
});
