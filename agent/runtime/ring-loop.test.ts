import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { EventCursor } from '../../src/events/cursor.ts';
import { BATCH, EMPTY_POLLS, RingLoop } from './ring-loop.ts';

const EVENT = {} as EventCursor;

/** A ring with a number of records for each drain, and waits that pass at once. The last drain stops the loop. */
function looped(records: readonly number[]) {
  const left = [...records];
  const calls: string[] = [];
  let received = 0;
  const ring = {
    backlog: 0,
    drain(budget: number, receive: (event: EventCursor) => void): number {
      const count = Math.min(budget, left.shift() ?? 0);
      for (let i = 0; i < count; i++) receive(EVENT);
      if (left.length === 0) void loop.stop();
      return count;
    },
  };
  const passed = (name: string) => async () => {
    calls.push(name);
  };
  const waits = {
    ...{ yield: passed('yield'), poll: passed('poll'), wait: passed('wait') },
    wake: () => {},
  };
  const loop = new RingLoop(
    ring,
    waits,
    () => received++,
    (isBehind) => calls.push(isBehind ? 'behind' : 'idle'),
  );
  return {
    ...{ loop, ring, calls },
    received: () => received,
    async run(): Promise<string[]> {
      loop.start();
      await loop.stop();
      return calls;
    },
  };
}

describe('the ring loop', () => {
  it('yields between full batches, and polls after one that is not full', async () => {
    const one = looped([BATCH, BATCH, 3, 1]);
    one.loop.start();
    await new Promise(setImmediate);
    assert.deepEqual(one.calls, [
      ...['behind', 'yield', 'behind', 'yield'],
      ...['idle', 'poll', 'idle', 'poll'],
    ]);
    assert.equal(one.received(), 2 * BATCH + 4);
  });

  it('sleeps after some empty polls, and polls again after an event', async () => {
    const one = looped([...new Array(EMPTY_POLLS).fill(0), 1, 0]);
    one.loop.start();
    await new Promise(setImmediate);
    const waits = one.calls.filter((call) => call !== 'idle');
    assert.deepEqual(waits, [...new Array(EMPTY_POLLS - 1).fill('poll'), 'wait', 'poll', 'poll']);
  });

  it('ends when it is stopped, and resolves only then', async () => {
    const calls = await looped([1, 1, 1]).run();
    assert.deepEqual(calls, ['idle', 'poll']);
  });

  it('drains everything at the end, in batches', async () => {
    const one = looped([BATCH, BATCH, 7, 5]);
    await one.loop.drainAll();
    assert.equal(one.received(), 2 * BATCH + 7);
    assert.deepEqual(one.calls, ['yield', 'yield']);
  });

  it('knows that the ring is empty only if nothing is left in it', () => {
    const one = looped([BATCH, 1, 1, 1]);
    assert.equal(one.loop.drain(), false);
    assert.equal(one.loop.drain(), true);
    one.ring.backlog = 64;
    assert.equal(one.loop.drain(), false);
  });
});
