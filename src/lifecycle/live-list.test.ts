import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LiveList } from './live-list.ts';

const objects = (count: number) =>
  Array.from({ length: count }, (_, id) => ({ id, liveIndex: -1 }));

describe('a list of live objects', () => {
  it('keeps the order in which objects were added, also when it is compacted', () => {
    const list = new LiveList<{ id: number; liveIndex: number }>();
    const all = objects(1000);
    for (const object of all) list.add(object);
    for (const object of all) if (object.id % 100 !== 7) list.delete(object);
    assert.deepEqual(
      [...list].map(({ id }) => id),
      [7, 107, 207, 307, 407, 507, 607, 707, 807, 907],
    );
    assert.equal(list.size, 10);
    for (const object of all) assert.equal(list.has(object), object.id % 100 === 7);
  });

  it('adds and deletes an object once', () => {
    const list = new LiveList<{ id: number; liveIndex: number }>();
    const [first, second] = objects(2);
    list.add(first);
    list.add(first);
    list.delete(second);
    assert.equal(list.size, 1);
    list.delete(first);
    list.delete(first);
    assert.equal(list.size, 0);
    list.add(first);
    assert.deepEqual([...list], [first]);
  });

  it('skips what is deleted and yields what is added during an iteration', () => {
    const list = new LiveList<{ id: number; liveIndex: number }>();
    const all = objects(300);
    for (const object of all.slice(0, 200)) list.add(object);
    const visited: number[] = [];
    for (const { id } of list) {
      visited.push(id);
      if (id === 0) for (const object of all.slice(1, 199)) list.delete(object);
      if (id === 199) list.add(all[200]);
    }
    assert.deepEqual(visited, [0, 199, 200]);
    assert.equal(list.size, 3);
  });
});
