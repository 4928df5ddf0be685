import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EventCursor } from '../events/cursor.ts';
import { encodeRecord, type RecordFields } from '../events/encoder.ts';
import { FLAG, POINT } from '../events/wire.gen.ts';
import { Timeline } from './timeline.ts';

function event(fields: Partial<RecordFields>): EventCursor {
  const base = { time: 1, seq: 0, point: POINT.MDEV_CREATE, pid: 1, tid: 1, comm: 'bash' };
  return new EventCursor(encodeRecord({ ...base, ...fields }).buffer as ArrayBuffer);
}

/** A timeline to which events of the times 1 to `count` were added. */
function timelineOf(count: number): Timeline {
  const timeline = new Timeline();
  for (let time = 1; time <= count; time++) timeline.add(event({ time }), 0);
  return timeline;
}

function times(timeline: Timeline): number[] {
  return timeline.entries().map((entry) => entry.time);
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

describe('Timeline', () => {
  it('shows every field of an event', () => {
    const timeline = new Timeline();
    const fields = {
      time: 2 ** 52 + 1,
      point: POINT.VFIO_DEVICE_OPEN,
      flags: FLAG.EVENT_END | FLAG.EVENT_EXITING,
      pid: 2 ** 22,
      tid: 2 ** 22 + 1,
      comm: 'qemu-system-x86',
      ret: -16,
      openCount: 3,
      usersCount: 7,
    };
    timeline.add(event(fields), 42);
    assert.deepEqual(timeline.entries(), [{ ...fields, vm: 42 }]);
  });

  it('copies the event, because its record will be overwritten', () => {
    const cursor = event({ time: 5, comm: 'first' });
    const timeline = new Timeline();
    timeline.add(cursor, 0);
    new Uint8Array(cursor.words.buffer).fill(0xff);
    assert.deepEqual([timeline.entries()[0].time, timeline.entries()[0].comm], [5, 'first']);
  });

  it('is empty at first', () => {
    assert.deepEqual(timelineOf(0).entries(), []);
  });

  for (const count of [1, 15, 16, 17, 32, 33, 63, 64]) {
    it(`keeps ${count} events in order`, () => {
      const timeline = timelineOf(count);
      assert.deepEqual(times(timeline), range(1, count));
      assert.equal(timeline.omitted, 0);
    });
  }

  for (const count of [65, 80, 111, 112, 113, 1000]) {
    it(`keeps the first 16 and the last 48 of ${count} events`, () => {
      const timeline = timelineOf(count);
      assert.deepEqual(times(timeline), [...range(1, 16), ...range(count - 47, count)]);
      assert.equal(timeline.omitted, count - 64);
    });
  }

  it('keeps the comm of each caller while it grows', () => {
    const timeline = new Timeline();
    for (let i = 0; i < 64; i++) timeline.add(event({ comm: `worker-${i}` }), i);
    for (const [i, entry] of timeline.entries().entries()) {
      assert.deepEqual([entry.comm, entry.vm], [`worker-${i}`, i]);
    }
  });
});
