import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { excluding, including, NONE } from './related.ts';

describe('lists of related objects', () => {
  it('gain and lose elements in order', () => {
    const one = including(NONE, 'a');
    const three = including(including(one, 'b'), 'c');
    assert.deepEqual([one, three], [['a'], ['a', 'b', 'c']]);
    assert.deepEqual(excluding(three, 'b'), ['a', 'c']);
    assert.deepEqual(excluding(one, 'a'), []);
  });

  it('stay as they are for whoever reads them meanwhile', () => {
    const list = including(including(NONE, 'a'), 'b');
    const read: string[] = [];
    let rest = list;
    for (const element of list) {
      read.push(element);
      rest = excluding(rest, element);
    }
    assert.deepEqual([read, rest], [['a', 'b'], []]);
  });

  it('are not changed by an element that they do not have', () => {
    for (const list of [[], ['a'], ['a', 'b']]) assert.deepEqual(excluding(list, 'c'), list);
  });
});
