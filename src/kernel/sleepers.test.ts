import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { QUIET_MS, Sleepers } from './sleepers.ts';

const QUIET = QUIET_MS * 1e6;

describe('a thread that sleeps', () => {
  let now = 1e12;
  const sleepers = () => new Sleepers(() => now);
  const status = (switches: number) =>
    `Name:\tx\nvoluntary_ctxt_switches:\t${switches}\nnonvoluntary_ctxt_switches:\t3\n`;

  it('has slept through when it was not switched for a while since it was first seen', () => {
    const all = sleepers();
    assert.equal(all.hasSlept(7, status(5)), false);
    now += QUIET - 1;
    assert.equal(all.hasSlept(7, status(5)), false);
    now += 1;
    assert.equal(all.hasSlept(7, status(5)), true);
  });

  it('has not when it woke up meanwhile, as a driver that polls does again and again', () => {
    const all = sleepers();
    for (let i = 0; i < 5; i++) {
      assert.equal(all.hasSlept(7, status(i)), false);
      now += 2 * QUIET;
    }
  });

  it('is one of many, of which the latest are remembered', () => {
    const all = sleepers();
    all.hasSlept(1, status(1));
    all.hasSlept(2, status(1));
    for (let tid = 100; tid < 4195; tid++) all.hasSlept(tid, status(1));
    now += QUIET;
    assert.equal(all.hasSlept(2, status(1)), true);
    assert.equal(all.hasSlept(1, status(1)), false);
  });

  it('is taken for asleep where the kernel does not count switches', () => {
    assert.equal(sleepers().hasSlept(7, 'Name:\tx\n'), true);
  });
});
