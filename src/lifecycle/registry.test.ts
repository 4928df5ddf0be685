import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EventCursor } from '../events/cursor.ts';
import { encodeRecord } from '../events/encoder.ts';
import { EVENT, POINT } from '../events/wire.gen.ts';
import { EndedObjects, Registry, type RegistryOptions } from './registry.ts';
import { TrackedObject } from './tracked-object.ts';

const KEY_DEV = EVENT.dev >> 2;

class Item extends TrackedObject {
  hasEnded = false;
  /** What isReplacedBy() answers. */
  isUnique = true;

  constructor(name = '') {
    super(1, false, 0);
    this.name = name;
  }

  get isOver(): boolean {
    return this.hasEnded;
  }

  override endUnobserved(): void {
    this.hasEnded = true;
  }

  override isReplacedBy(): boolean {
    return this.isUnique;
  }
}

/** An event about a device with that key. */
function event(dev: number): EventCursor {
  const base = { time: 1, seq: 0, point: POINT.MDEV_PROBE, pid: 1, tid: 1, comm: 'sh' };
  return new EventCursor(encodeRecord({ ...base, dev }).buffer as ArrayBuffer);
}

/** A registry that keeps one ended item by default, and a log of what it calls. */
function registryOf(options: RegistryOptions<Item> = { keepEnded: 1 }) {
  const log: string[] = [];
  const registry = new Registry<Item>({
    onEnd: ({ name, isOver }) => log.push(`${name} ${isOver ? 'superseded' : 'ended'}`),
    onForget: ({ name }) => log.push(`${name} forgotten`),
    ...options,
  });
  const add = (name: string, key = 0): Item => {
    const item = new Item(name);
    if (key === 0) registry.add(item);
    else registry.addWithKey(item, event(key), KEY_DEV);
    return item;
  };
  return { registry, log, add };
}

describe('Registry', () => {
  it('finds a live object by its key and by its name', () => {
    const { registry, add } = registryOf();
    const [a, b] = [add('a', 1), add('b', 2)];
    assert.deepEqual([...registry], [a, b]);
    assert.equal(registry.find(event(1), KEY_DEV), a);
    assert.equal(registry.withKey(b.keyLow, b.keyHigh), b);
    assert.equal(registry.named('b'), b);
    assert.equal(registry.find(event(3), KEY_DEV), undefined);
    assert.equal(registry.named('c'), undefined);
    assert.deepEqual([...registry.names()], ['a', 'b']);
  });

  it('finds an object that has ended by neither, and keeps it among the ended ones', () => {
    const { registry, log, add } = registryOf();
    const a = add('a', 1);
    registry.end(a);
    assert.equal(registry.find(event(1), KEY_DEV), undefined);
    assert.equal(registry.named('a'), undefined);
    assert.deepEqual([registry.size, registry.indexed, registry.has(a)], [0, 0, false]);
    assert.deepEqual(registry.ended.list(), [a]);
    assert.deepEqual(log, ['a ended']);
    assert.ok(a.keyLow !== 0, 'the value of its key is kept, to recognise late events');
  });

  it('supersedes the object whose key another object gets', () => {
    const { registry, log, add } = registryOf();
    const first = add('first', 1);
    const second = add('second', 1);
    assert.ok(first.isOver && !second.isOver);
    assert.equal(registry.find(event(1), KEY_DEV), second);
    assert.equal(registry.named('first'), undefined);
    assert.deepEqual([...registry], [second]);
    assert.deepEqual([registry.ended.list(), log], [[first], ['first superseded']]);
    assert.equal(registry.indexed, 2);
  });

  it('supersedes an object that a new one of the same name replaces', () => {
    const { registry, log, add } = registryOf();
    const first = add('same', 1);
    const second = add('same', 2);
    assert.ok(first.isOver && !second.isOver);
    assert.equal(registry.named('same'), second);
    assert.equal(registry.find(event(1), KEY_DEV), undefined);
    assert.deepEqual([registry.indexed, log], [2, ['same superseded']]);
  });

  it('keeps both objects of a name where a new one does not replace the other', () => {
    const { registry, add } = registryOf();
    const first = add('same', 1);
    first.isUnique = false;
    const second = add('same', 2);
    assert.deepEqual([first.isOver, registry.size, registry.indexed], [false, 2, 3]);
    assert.equal(registry.named('same'), second);
    registry.end(first);
    assert.equal(registry.named('same'), second, 'the name belongs to the other one');
    registry.end(second);
    assert.equal(registry.indexed, 0);
  });

  it('does not supersede an object that gets its own key or name again', () => {
    const { registry, add } = registryOf();
    const a = add('a', 1);
    registry.addWithKey(a, event(1), KEY_DEV);
    assert.deepEqual([a.isOver, registry.size, registry.indexed], [false, 1, 2]);
  });

  it('indexes an object under its latest key only', () => {
    const { registry, add } = registryOf();
    const a = add('a', 1);
    registry.setKey(a, event(2), KEY_DEV);
    assert.equal(registry.find(event(1), KEY_DEV), undefined);
    assert.equal(registry.find(event(2), KEY_DEV), a);
    assert.equal(registry.indexed, 2);
  });

  it('does not supersede an object whose key was forgotten before another object gets it', () => {
    const { registry, add } = registryOf();
    const first = add('first', 1);
    registry.forgetKey(first);
    const second = add('second', 1);
    assert.equal(first.isOver, false);
    registry.end(first);
    assert.equal(registry.find(event(1), KEY_DEV), second, 'the key belongs to the other one');
  });

  it('counts the entries of both indexes', () => {
    const { registry, add } = registryOf();
    const counts: number[] = [registry.indexed];
    const count = () => counts.push(registry.indexed);
    const a = add('a');
    count();
    registry.setKey(a, event(1), KEY_DEV);
    count();
    const unnamed = add('', 2);
    count();
    registry.forgetKey(a);
    count();
    registry.end(a);
    count();
    registry.end(unnamed);
    count();
    assert.deepEqual(counts, [0, 1, 2, 3, 2, 1, 0]);
  });

  it('drops an object from the indexes without ending it', () => {
    const { registry, log, add } = registryOf();
    registry.drop(add('a', 1));
    assert.deepEqual([registry.size, registry.indexed, registry.ended.total], [0, 0, 0]);
    assert.deepEqual(log, []);
  });

  it('keeps no ended objects by default', () => {
    const { registry, log, add } = registryOf({});
    registry.end(add('a'));
    assert.deepEqual([registry.ended.list(), registry.ended.total], [[], 1]);
    assert.deepEqual(log, ['a ended', 'a forgotten']);
  });
});

describe('namedWithoutKey', () => {
  it('returns an object whose key is unknown, until it gets one', () => {
    const { registry, add } = registryOf();
    const a = add('a');
    assert.equal(registry.namedWithoutKey('a'), a);
    registry.setKey(a, event(1), KEY_DEV);
    assert.equal(registry.namedWithoutKey('a'), undefined);
  });

  it('returns an object that a host snapshot found by its name after a loss', () => {
    const { registry, add } = registryOf();
    const a = add('a', 1);
    a.adopted = true;
    assert.equal(registry.namedWithoutKey('a'), undefined);
    a.foundBy = 1;
    assert.equal(registry.namedWithoutKey('a'), a);
  });

  it('returns nothing for an unknown name', () => {
    assert.equal(registryOf().registry.namedWithoutKey('a'), undefined);
  });
});

describe('EndedObjects', () => {
  it('keeps at most its limit, the most recent ones, oldest first', () => {
    for (const limit of [1, 2, 7]) {
      const objects = new EndedObjects<number>(limit);
      for (let i = 1; i <= 50; i++) {
        objects.add(i);
        const kept = objects.list();
        assert.equal(kept.length, Math.min(i, limit));
        assert.deepEqual([kept[0], kept.at(-1)], [Math.max(1, i - limit + 1), i]);
      }
      assert.equal(objects.total, 50);
    }
  });

  it('reports each object that it drops once, oldest first', () => {
    const dropped: number[] = [];
    const objects = new EndedObjects<number>(3, (object) => dropped.push(object));
    for (let i = 1; i <= 20; i++) objects.add(i);
    assert.deepEqual(
      dropped,
      Array.from(dropped, (_, i) => i + 1),
    );
    // Up to twice the limit may be in memory.
    assert.ok(dropped.length >= 20 - 6 && dropped.length <= 20 - 3, `${dropped.length}`);
  });

  it('returns the objects that ended since an earlier total, as far as it keeps them', () => {
    const objects = new EndedObjects<number>(3);
    objects.add(1);
    const { total } = objects;
    assert.deepEqual(objects.since(total), []);
    objects.add(2);
    objects.add(3);
    assert.deepEqual(objects.since(total), [2, 3]);
    for (let i = 4; i <= 9; i++) objects.add(i);
    assert.deepEqual(objects.since(total), [7, 8, 9]);
  });
});
