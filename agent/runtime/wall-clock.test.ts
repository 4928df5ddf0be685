import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SECOND } from '../../src/units.ts';
import { WallClock } from './wall-clock.ts';

/** Clocks that a test sets. */
class TestClocks {
  now = 10 * SECOND;
  offset = 1000 * SECOND;

  bootTime(): number {
    return this.now;
  }

  wallOffset(): number {
    return this.offset;
  }
}

describe('the wall clock', () => {
  it('dates what happened before it was set as before', () => {
    const clocks = new TestClocks();
    const clock = new WallClock(clocks);
    assert.equal(clock.sinceEpoch(5 * SECOND), 1005);
    clocks.now = 11 * SECOND;
    clock.update();
    clocks.now = 12 * SECOND;
    clocks.offset = 5000 * SECOND;
    clock.update();
    assert.equal(clock.sinceEpoch(5 * SECOND), 1005);
    assert.equal(clock.sinceEpoch(11 * SECOND), 1011);
    assert.equal(clock.sinceEpoch(12 * SECOND), 5012);
  });

  it('notices at once that it was set, before the next update', () => {
    const clocks = new TestClocks();
    const clock = new WallClock(clocks);
    clocks.now = 10.1 * SECOND;
    clocks.offset = 0;
    assert.equal(clock.sinceEpoch(clocks.now), 10.1);
    assert.equal(clock.sinceEpoch(9 * SECOND), 1009);
  });

  it('does not take the inexactness of a comparison for a change', () => {
    const clocks = new TestClocks();
    const clock = new WallClock(clocks);
    clocks.now = 11 * SECOND;
    clocks.offset += 0.001 * SECOND;
    clock.update();
    assert.equal(clock.sinceEpoch(11 * SECOND), 1011);
  });

  it('keeps a limited number of changes', () => {
    const clocks = new TestClocks();
    const clock = new WallClock(clocks);
    for (let i = 0; i < 1000; i++) {
      clocks.now += SECOND;
      clocks.offset += SECOND;
      clock.update();
    }
    assert.equal(clock.offset(clocks.now), 2000 * SECOND);
    assert.equal(clock.offset(0), 1901 * SECOND);
  });
});
