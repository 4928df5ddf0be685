import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Notes, POINTS, tellTo } from '../../src/capture/taped.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { encodeRecord } from '../../src/events/encoder.ts';
import type { PointStatus } from '../../src/events/source.ts';
import { POINT } from '../../src/events/wire.gen.ts';
import { Playback } from './playback.ts';
import { Sight } from './sight.ts';

const SECOND = 1e9;

function recordAt(time: number): EventCursor {
  const fields = { time, seq: 0, point: POINT.KVM_PUT, pid: 1, tid: 1, comm: 'x' };
  return new EventCursor(encodeRecord(fields).buffer as ArrayBuffer);
}

/** What a listener hears: seconds for times, "record" for records. */
function heard(tell: (playback: Playback) => void): (number | string)[] {
  const notes = new Notes();
  tell(new Playback(notes, 0));
  return notes.calls.map((call) =>
    call.startsWith('caughtUp') ? Number(call.split(' ')[1]) / SECOND : call.split(' ')[0],
  );
}

describe('Playback', () => {
  it('adds nothing where the source caught up once a second', () => {
    const told = heard((playback) => {
      for (const time of [1.001, 2.003, 3.9]) playback.caughtUp(time * SECOND, []);
      playback.record(recordAt(4.8 * SECOND));
    });
    assert.deepEqual(told, [1.001, 2.003, 3.9, 'record']);
  });

  it('tells every second between records, before the record that shows that it passed', () => {
    const told = heard((playback) => {
      playback.record(recordAt(0.5 * SECOND));
      playback.record(recordAt(3.2 * SECOND));
    });
    assert.deepEqual(told, ['record', 1, 2, 3, 'record']);
  });

  it('tells every second in front of a late caughtUp', () => {
    assert.deepEqual(
      heard((playback) => playback.caughtUp(4.5 * SECOND, [])),
      [1, 2, 3, 4.5],
    );
  });

  it('is not held up by a time that cannot be', () => {
    const told = heard((playback) => {
      playback.record(recordAt(2 ** 53));
      playback.caughtUp(2 ** 64, []);
      playback.record(recordAt(5));
    });
    assert.ok(told.length < 10_000, `${told.length}`);
    assert.equal(told.at(-1), 'record');
  });

  it('hands everything else on as it is', () => {
    const [direct, played] = [new Notes(), new Notes()];
    for (const listener of [direct, new Playback(played, 1000 * SECOND)]) {
      listener.watching(POINTS);
      listener.lost('calls_full', 3);
      tellTo(listener, (story) => {
        story.remove(story.create(story.parent()));
        story.wait(2);
      });
    }
    assert.deepEqual(played.calls, direct.calls);
  });
});

describe('Sight', () => {
  const [seen, failed] = POINTS;
  const waiting: PointStatus = { ...seen, state: 'waiting', reason: 'mdev is not loaded' };

  it('knows for how long which point was not watched', () => {
    const sight = new Sight(100);
    sight.change([seen, failed], 100);
    sight.change([waiting, failed], 110);
    sight.change([seen, failed], 115);
    assert.deepEqual(sight.unseen(150), [
      { point: failed.point, reason: failed.reason, lasted: 50 },
      { point: seen.point, reason: waiting.reason, lasted: 5 },
    ]);
    assert.deepEqual(sight.points, [seen, failed]);
  });

  it('takes what another point tells as watched', () => {
    const sight = new Sight(0);
    sight.change([{ ...seen, state: 'implied' }], 0);
    assert.deepEqual(sight.unseen(9), []);
  });
});
