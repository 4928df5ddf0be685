import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EventCursor } from '../../src/events/cursor.ts';
import { encodeRecord } from '../../src/events/encoder.ts';
import type { PointStatus } from '../../src/events/source.ts';
import { POINT } from '../../src/events/wire.gen.ts';
import { SECOND } from '../../src/units.ts';
import { Notes, POINTS, playTo } from '../../test/kit/recorded.ts';
import { Coverage } from './coverage.ts';
import { Playback } from './playback.ts';

function recordAt(time: number): EventCursor {
  const fields = { time, seq: 0, point: POINT.KVM_PUT, pid: 1, tid: 1, comm: 'x' };
  return new EventCursor(encodeRecord(fields).buffer as ArrayBuffer);
}

/** What a listener gets: seconds for times, "record" for records. */
function received(run: (playback: Playback) => void): (number | string)[] {
  const notes = new Notes();
  run(new Playback(notes, 0));
  return notes.calls.map((call) =>
    call.startsWith('caughtUp') ? Number(call.split(' ')[1]) / SECOND : call.split(' ')[0],
  );
}

describe('Playback', () => {
  it('adds nothing where the source caught up once a second', () => {
    const calls = received((playback) => {
      for (const time of [1.001, 2.003, 3.9]) playback.caughtUp(time * SECOND, []);
      playback.record(recordAt(4.8 * SECOND));
    });
    assert.deepEqual(calls, [1.001, 2.003, 3.9, 'record']);
  });

  it('passes every second between records, before the next record', () => {
    const calls = received((playback) => {
      playback.record(recordAt(0.5 * SECOND));
      playback.record(recordAt(3.2 * SECOND));
    });
    assert.deepEqual(calls, ['record', 1, 2, 3, 'record']);
  });

  it('passes every second before a late caughtUp', () => {
    assert.deepEqual(
      received((playback) => playback.caughtUp(4.5 * SECOND, [])),
      [1, 2, 3, 4.5],
    );
  });

  it('is not blocked by an impossible time', () => {
    const calls = received((playback) => {
      playback.record(recordAt(2 ** 53));
      playback.caughtUp(2 ** 64, []);
      playback.record(recordAt(5));
    });
    assert.ok(calls.length < 3000, `${calls.length}`);
    assert.equal(calls.at(-1), 'record');
  });

  it('passes a pause second by second first, and in longer steps later', () => {
    const calls = received((playback) => playback.caughtUp(3600 * SECOND, [])).map(Number);
    assert.deepEqual(
      calls.slice(0, 64),
      Array.from({ length: 64 }, (_, i) => i + 1),
    );
    assert.ok(calls.length < 400, `${calls.length}`);
    for (const [i, time] of calls.slice(64).entries()) {
      assert.ok(time - calls[63 + i] <= Math.max(1, calls[63 + i] / 64) + 1e-6, `${time}`);
    }
    assert.equal(calls.at(-1), 3600);
  });

  it('passes many pauses in time that grows with the calls, not with the pauses', () => {
    const notes = new Notes();
    const playback = new Playback(notes, 0);
    for (let i = 1; i <= 10_000; i++) playback.record(recordAt(i * 3600 * SECOND));
    assert.ok(notes.calls.length < 80_000, `${notes.calls.length}`);
    assert.ok((playback.skippedFrom ?? 0) > 0);
    // Where only time is recorded, the steps of one long pause are enough.
    const quiet = new Playback(new Notes(), 0);
    for (let i = 1; i <= 10_000; i++) quiet.caughtUp(i * 3600 * SECOND, []);
    assert.equal(quiet.skippedFrom, undefined);
  });

  it('passes everything else on unchanged', () => {
    const [direct, played] = [new Notes(), new Notes()];
    for (const listener of [direct, new Playback(played, 1000 * SECOND)]) {
      listener.watching(POINTS);
      listener.lost('calls_full', 3);
      playTo(listener, (scenario) => {
        scenario.remove(scenario.create(scenario.parent()));
        scenario.wait(2);
      });
    }
    assert.deepEqual(played.calls, direct.calls);
  });
});

describe('Coverage', () => {
  const [attached, failed] = POINTS;
  const waiting: PointStatus = { ...attached, state: 'waiting', reason: 'mdev is not loaded' };

  it('knows how long each point was not watched', () => {
    const coverage = new Coverage(100);
    coverage.change([attached, failed], 100);
    coverage.change([waiting, failed], 110);
    coverage.change([attached, failed], 115);
    assert.deepEqual(coverage.unwatched(150), [
      { point: failed.point, reason: failed.reason, lasted: 50 },
      { point: attached.point, reason: waiting.reason, lasted: 5 },
    ]);
    assert.deepEqual(coverage.points, [attached, failed]);
  });

  it('counts a point whose events are inferred as watched', () => {
    const coverage = new Coverage(0);
    coverage.change([{ ...attached, state: 'inferred' }], 0);
    assert.deepEqual(coverage.unwatched(9), []);
  });
});
