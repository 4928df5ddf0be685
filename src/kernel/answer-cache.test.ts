import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { FileOwner } from '../events/host.ts';
import { SECOND } from '../units.ts';
import { AnswerCache } from './answer-cache.ts';

/** A cache over a host whose files take a given time to read, and its clock. */
function cacheOf(takes: number) {
  const clock = { now: 0, reads: 0 };
  const read = async () => {
    clock.reads++;
    clock.now += takes;
    await setImmediate();
    return [] as FileOwner[];
  };
  const cache = new AnswerCache(read, () => clock.now);
  const ask = async (now: number, notBefore: number) => {
    clock.now = Math.max(clock.now, now);
    const answer = cache.since(notBefore);
    await setImmediate();
    await setImmediate();
    return answer;
  };
  return { clock, ask, cache };
}

describe('the latest answer, such as to who holds files', () => {
  it('is not there before the files were read, nor is one that is too old for who asks', async () => {
    const { ask } = cacheOf(0);
    assert.equal(await ask(0, 0), undefined);
    assert.deepEqual(await ask(1 * SECOND, 0), []);
    assert.equal(await ask(2 * SECOND, 1 * SECOND), undefined, 'it began before');
    assert.deepEqual(await ask(3 * SECOND, 1 * SECOND), []);
  });

  it('is there for who waits for it and asks only once', async () => {
    const { cache } = cacheOf(0);
    assert.deepEqual(await cache.next(0), []);
    assert.equal(cache.since(1), undefined);
  });

  it('is not waited for where reading fails or is not due', async () => {
    const cache = new AnswerCache<object>(
      () => Promise.reject(new Error('no')),
      () => 0,
    );
    assert.equal(await cache.next(0), undefined);
    assert.equal(await cache.next(1), undefined);
  });

  it('is given again for five seconds, and then while the files are read again', async () => {
    const { ask, clock } = cacheOf(0);
    await ask(0, 0);
    for (const second of [1, 3, 5, 6]) assert.deepEqual(await ask(second * SECOND, 0), []);
    assert.equal(clock.reads, 2);
  });

  it('is renewed less often where reading takes long', async () => {
    const { ask, clock } = cacheOf(1 * SECOND);
    await ask(0, 0);
    for (let second = 2; second < 11; second++) await ask(second * SECOND, second * SECOND);
    assert.equal(clock.reads, 1);
    await ask(12 * SECOND, 0);
    assert.equal(clock.reads, 2);
  });

  it('is renewed after some time, however long reading takes', async () => {
    const { ask, clock } = cacheOf(30 * SECOND);
    await ask(0, 0);
    await ask(49 * SECOND, 0);
    assert.equal(clock.reads, 1);
    await ask(51 * SECOND, 0);
    assert.equal(clock.reads, 2);
  });

  it('is unknown when the files cannot be read', async () => {
    const cache = new AnswerCache(
      () => Promise.reject(new Error('denied')),
      () => 0,
    );
    assert.equal(cache.since(0), undefined);
    await setImmediate();
    assert.equal(cache.since(0), undefined);
  });
});
