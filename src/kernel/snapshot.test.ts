import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EventCursor } from '../events/cursor.ts';
import { encodeRecord } from '../events/encoder.ts';
import { COVERED, FLAG, POINT, WIRE } from '../events/wire.gen.ts';
import { eachRecord, snapshot, snapshotBegins } from './snapshot.ts';
import type { SnapshotFiles } from './snapshot-files.ts';

const AGENT = { time: 5, seq: 0, pid: 1, tid: 1, comm: 'x' };

/** What is read of each record. */
function points(...arrays: readonly Uint8Array[]): string[] {
  const found: string[] = [];
  for (const records of arrays) {
    eachRecord(records, (event) => found.push(`${event.point} ${event.isNamed} ${event.ret}`));
  }
  return found;
}

/** Records as an iterator over files yields them. */
function openFile(ret: number): Uint8Array {
  return encodeRecord({
    ...AGENT,
    ret,
    point: POINT.SNAPSHOT_OPEN,
    flags: FLAG.EVENT_SNAPSHOT,
    names: { device: `device-${ret}`, bus: 'mdev' },
  });
}

describe('records of a host snapshot', () => {
  it('come one by one, whether alone or several in an array', () => {
    const several = Buffer.concat([openFile(3), openFile(4), openFile(5)]);
    const aligned = new Uint8Array(several);
    assert.deepEqual(points(snapshotBegins(), aligned), [
      '56 false 0',
      '59 true 3',
      '59 true 4',
      '59 true 5',
    ]);
  });

  it('keep their names', () => {
    const names: string[] = [];
    eachRecord(new Uint8Array(Buffer.concat([openFile(3), openFile(4)])), (event) =>
      names.push(`${event.name('device')} ${event.name('bus')} ${event.name('type')}`),
    );
    assert.deepEqual(names, ['device-3 mdev ', 'device-4 mdev ']);
  });

  it('are none in an empty array', () => {
    assert.deepEqual(points(new Uint8Array(0)), []);
  });

  it('have the size of named ones or of plain ones, never of both', () => {
    // Arrays are distinguished by their length: one plain record is no multiple of a named one.
    assert.notEqual(WIRE.eventSize % WIRE.namedSize, 0);
  });
});

describe('a host snapshot', () => {
  const files = { records: async () => openFile(7) } as unknown as SnapshotFiles;

  it('has a begin that is marked as found by a snapshot, and says when', () => {
    const event = new EventCursor(snapshotBegins().buffer as ArrayBuffer);
    assert.equal(event.point, POINT.SNAPSHOT_RUN);
    assert.equal(event.flags, FLAG.EVENT_SNAPSHOT);
    assert.ok(event.time > 0);
    assert.equal(event.pid, process.pid);
  });

  it('ends with its end, after the files, and all of it is marked as found by a snapshot', async () => {
    const { records } = await snapshot(files);
    let last = '';
    let isMarked = true;
    const found: string[] = [];
    for (const some of records) {
      eachRecord(some, (event) => {
        last = `${event.point} ${event.isEnd}`;
        isMarked &&= (event.flags & FLAG.EVENT_SNAPSHOT) !== 0;
        found.push(`${event.point}`);
      });
    }
    assert.equal(last, `${POINT.SNAPSHOT_RUN} true`);
    assert.ok(isMarked);
    assert.ok(found.includes(`${POINT.SNAPSHOT_OPEN}`));
  });

  it('says what it could not see, and why', async () => {
    const { records, problems } = await snapshot(new Error('it is refused'));
    let covered = -1;
    eachRecord(records.at(-1) ?? new Uint8Array(0), (event) => {
      covered = event.covered;
    });
    assert.equal(covered & COVERED.FILES, 0);
    const [{ code, message }] = problems;
    assert.equal(code, 'snapshot.files-unreadable');
    assert.match(message, /it is refused/);
    const broken = {
      records: () => Promise.reject(new Error('torn')),
    } as unknown as SnapshotFiles;
    const [problem] = (await snapshot(broken)).problems;
    assert.deepEqual([problem.code, problem.message], ['snapshot.part-failed', 'torn']);
  });
});
