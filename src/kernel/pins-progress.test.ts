/** The position in a pinned ring, when its reader is killed in the middle of a commit. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { cases } from '../../test/kit/random.ts';
import { EventCursor } from '../events/cursor.ts';
import { encodeRecord } from '../events/encoder.ts';
import { SequenceCheck } from '../events/sequence.ts';
import { EVENT, POINT } from '../events/wire.gen.ts';
import { Progress, progressBytes } from './pins-progress.ts';

const CPUS = 3;
const BYTES = 120;
const bytes = encodeRecord({ time: 1, seq: 0, point: POINT.KVM_PUT, pid: 1, tid: 1, comm: '' });
const view = new DataView(bytes.buffer);
const cursor = new EventCursor(bytes.buffer as ArrayBuffer);

function record(cpu: number, seq: number, point: number = POINT.KVM_PUT): EventCursor {
  view.setUint16(EVENT.cpu, cpu, true);
  view.setUint32(EVENT.seq, seq, true);
  view.setUint8(EVENT.point, point);
  return cursor;
}

const memory = () => new ArrayBuffer(progressBytes(CPUS));
const open = (buffer: ArrayBuffer) => new Progress(buffer, 0, CPUS);

function stateOf(progress: Progress) {
  const { position, records, lost, counts } = progress;
  return { position, records, lost, counts: [...counts], next: progress.next() };
}

/** As the next agent finds it. */
const state = (buffer: ArrayBuffer) => stateOf(open(buffer));

class Killed extends Error {}

/** Does something in a process that is killed right before or behind the word that commits. */
function killed(transition: 'before' | 'behind', act: () => void): void {
  const { store } = Atomics;
  Object.assign(Atomics, {
    store(words: Int32Array, index: number, value: number) {
      if (transition === 'behind') store(words, index, value);
      throw new Killed();
    },
  });
  try {
    assert.throws(act, Killed);
  } finally {
    Object.assign(Atomics, { store });
  }
}

describe('Progress', () => {
  it('is at 0 of a new ring', () => {
    const buffer = memory();
    const { position, records, lost, next } = state(buffer);
    assert.deepEqual(
      { position, records, lost, next },
      { position: 0, records: 0, lost: 0, next: [0, 0, 0] },
    );
  });

  it('counts records by event kind, and gaps in the sequence of each CPU', () => {
    const buffer = memory();
    const progress = open(buffer);
    progress.take(record(0, 0), BYTES);
    progress.take(record(1, 2), BYTES);
    progress.take(record(0, 1, POINT.KVM_GET), BYTES);
    progress.skip(8);
    progress.settle(0, 5);
    progress.settle(1, 3);
    const { position, records, lost, next, counts } = state(buffer);
    assert.deepEqual([position, records, lost, next], [3 * BYTES + 8, 3, 5, [5, 3, 0]]);
    assert.deepEqual([counts[POINT.KVM_PUT * 2], counts[POINT.KVM_GET * 2]], [2, 1]);
  });

  it('continues at 0 after 2^32 - 1', () => {
    const buffer = memory();
    const progress = open(buffer);
    for (const seq of [2 ** 31 - 1, 2 ** 32 - 2]) progress.take(record(2, seq), BYTES);
    const { lost } = progress;
    for (const seq of [2 ** 32 - 1, 0, 1]) progress.take(record(2, seq), BYTES);
    assert.equal(progress.lost, lost);
    assert.equal(progress.next()[2], 2);
    progress.settle(2, 2 ** 32 + 4);
    assert.equal(progress.lost, lost + 2);
  });

  it('has processed a record completely or not at all, whenever it is killed', () => {
    const Act = fc.record({
      cpu: fc.nat(CPUS - 1),
      gap: fc.nat(2),
      point: fc.constantFrom(POINT.KVM_PUT, POINT.KVM_GET),
      what: fc.constantFrom('take', 'settle', 'skip'),
      killed: fc.constantFrom(undefined, 'before', 'behind'),
    });
    fc.assert(
      fc.property(fc.array(Act, { maxLength: 60 }), (steps) => {
        const buffer = memory();
        const twin = memory();
        const twinProgress = open(twin);
        let progress = open(buffer);
        for (const { cpu, gap, point, what, killed: transition } of steps) {
          const seq = progress.next()[cpu] + gap;
          const act = (of: Progress) => {
            if (what === 'take') of.take(record(cpu, seq, point), BYTES);
            else if (what === 'skip') of.skip(16);
            else of.settle(cpu, seq);
          };
          // To settle what is settled commits nothing, so nothing can be killed.
          if (transition === undefined || (what === 'settle' && gap === 0)) {
            act(progress);
            act(twinProgress);
          } else {
            killed(transition, () => act(progress));
            if (transition === 'behind') act(twinProgress);
            progress = open(buffer);
          }
          assert.deepEqual(stateOf(progress), stateOf(twinProgress));
        }
        assert.deepEqual(state(buffer), state(twin));
      }),
      cases(100),
    );
  });

  it('finds the same gaps as SequenceCheck, which resumes where another stopped', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(CPUS - 1), fc.nat(3)), { maxLength: 50 }), (steps) => {
        const buffer = memory();
        const next = new Array<number>(CPUS).fill(0);
        let lost = 0;
        for (const [cpu, gap] of steps) {
          const check = new SequenceCheck();
          const progress = open(buffer);
          check.resumeAt(progress.next());
          next[cpu] += gap;
          lost += check.observe(record(cpu, next[cpu]));
          progress.take(record(cpu, next[cpu]), BYTES);
          next[cpu]++;
          assert.equal(progress.lost, lost);
        }
      }),
      cases(100),
    );
  });
});
