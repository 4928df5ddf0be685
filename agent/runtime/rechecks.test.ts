import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Rechecks } from './rechecks.ts';

describe('rechecks of host snapshots', () => {
  /** Seconds at which one is due, in a minute in which it is polled every half second. */
  const dueIn = (rechecks: Rechecks, from: number) => {
    const due: number[] = [];
    for (let now = from; now < from + 60_000; now += 500) {
      if (rechecks.isDue(now)) due.push((now - from) / 1000);
    }
    return due;
  };

  it('are not due before the first snapshot', () => {
    assert.deepEqual(dueIn(new Rechecks(), 0), []);
  });

  it('are due soon after a snapshot, and later for calls that take seconds', () => {
    const rechecks = new Rechecks();
    rechecks.begin(7000);
    assert.deepEqual(dueIn(rechecks, 7000), [1.5, 6, 24]);
    assert.deepEqual(dueIn(rechecks, 100_000), []);
  });

  it('are due once when several became due meanwhile', () => {
    const rechecks = new Rechecks();
    rechecks.begin(0);
    assert.deepEqual(dueIn(rechecks, 10_000), [0, 14]);
  });

  it('begin again after another snapshot', () => {
    const rechecks = new Rechecks();
    rechecks.begin(0);
    dueIn(rechecks, 0);
    rechecks.begin(60_000);
    assert.deepEqual(dueIn(rechecks, 60_000), [1.5, 6, 24]);
  });
});
