import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { cases } from '../../test/kit/random.ts';
import { EventCursor } from './cursor.ts';
import { encodeRecord } from './encoder.ts';
import { SequenceCheck } from './sequence.ts';
import { EVENT } from './wire.gen.ts';

const bytes = encodeRecord({ time: 1, seq: 0, point: 1, pid: 1, tid: 1, comm: '' });
const view = new DataView(bytes.buffer);
const cursor = new EventCursor(bytes.buffer as ArrayBuffer);

function record(cpu: number, seq: number): EventCursor {
  view.setUint16(EVENT.cpu, cpu, true);
  view.setUint32(EVENT.seq, seq, true);
  return cursor;
}

describe('SequenceCheck', () => {
  it('finds nothing lost in an unbroken sequence', () => {
    const check = new SequenceCheck();
    for (let seq = 0; seq < 100; seq++) assert.equal(check.observe(record(0, seq)), 0);
    assert.equal(check.lost, 0);
  });

  it('counts what is missing before a record, once', () => {
    const check = new SequenceCheck();
    check.observe(record(0, 0));
    assert.equal(check.observe(record(0, 4)), 3);
    assert.equal(check.observe(record(0, 5)), 0);
    assert.equal(check.lost, 3);
  });

  it('counts what was lost before the first record that arrived', () => {
    const check = new SequenceCheck();
    assert.equal(check.observe(record(0, 7)), 7);
  });

  it('continues at 0 after 2^32 - 1', () => {
    const check = new SequenceCheck();
    // In two steps, because more than half the range is taken for a step back.
    check.observe(record(0, 2 ** 31));
    check.observe(record(0, 2 ** 32 - 2));
    const before = check.lost;
    assert.equal(check.observe(record(0, 2 ** 32 - 1)), 0);
    assert.equal(check.observe(record(0, 0)), 0);
    assert.equal(check.observe(record(0, 1)), 0);
    assert.equal(check.lost, before);
  });

  it('counts a gap across the wraparound', () => {
    const check = new SequenceCheck();
    check.observe(record(0, 2 ** 31));
    check.observe(record(0, 2 ** 32 - 3));
    assert.equal(check.observe(record(0, 2)), 4);
  });

  it('finds what was lost at the end by the number of attempts, once', () => {
    const check = new SequenceCheck();
    check.observe(record(0, 0));
    assert.equal(check.settle(0, 1), 0);
    assert.equal(check.settle(0, 4), 3);
    assert.equal(check.settle(0, 4), 0);
    assert.equal(check.observe(record(0, 4)), 0);
    assert.equal(check.lost, 3);
  });

  it('is not confused by attempts that are older than what was read', () => {
    const check = new SequenceCheck();
    check.observe(record(0, 0));
    check.observe(record(0, 1));
    assert.equal(check.settle(0, 1), 0);
    assert.equal(check.observe(record(0, 2)), 0);
    assert.equal(check.lost, 0);
  });

  it('follows each CPU by itself, whichever is first', () => {
    const check = new SequenceCheck();
    check.observe(record(300, 0));
    check.observe(record(2, 1));
    check.observe(record(300, 3));
    check.observe(record(2, 2));
    const gaps = check.byCpu();
    assert.equal(gaps.length, 301);
    assert.deepEqual([gaps[0], gaps[2], gaps[300], check.lost], [0, 1, 2, 3]);
  });

  it('is settled for a CPU of which every record was lost', () => {
    const check = new SequenceCheck();
    assert.equal(check.settle(3, 0), 0);
    assert.equal(check.settle(3, 2), 2);
  });

  it('is settled with counts beyond 2^32', () => {
    const check = new SequenceCheck();
    check.observe(record(0, 2 ** 31));
    check.observe(record(0, 2 ** 32 - 1));
    const before = check.lost;
    assert.ok(before > 2 ** 31);
    assert.equal(check.settle(0, 3 * 2 ** 32 + 2), 2);
    assert.equal(check.lost, before + 2);
  });

  it('loses exactly what was dropped between arrivals, on any CPUs', () => {
    const attempts = fc.array(fc.tuple(fc.nat(3), fc.boolean()), { maxLength: 200 });
    fc.assert(
      fc.property(attempts, (tried) => {
        const check = new SequenceCheck();
        const next = [0, 0, 0, 0];
        const pending = [0, 0, 0, 0];
        const lost = [0, 0, 0, 0];
        for (const [cpu, dropped] of tried) {
          const seq = next[cpu]++;
          if (dropped) {
            pending[cpu]++;
            continue;
          }
          check.observe(record(cpu, seq));
          lost[cpu] += pending[cpu];
          pending[cpu] = 0;
        }
        assert.deepEqual(
          [0, 1, 2, 3].map((cpu) => check.byCpu()[cpu] ?? 0),
          lost,
        );
        assert.equal(
          check.lost,
          lost.reduce((sum, one) => sum + one),
        );
      }),
      cases(100),
    );
  });
});
