/** Recordings of format 1; agent/commands/recordings.test.ts plays one of a real kernel. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { crc32 } from 'node:zlib';
import { played, scratch } from '../../test/kit/recorded.ts';
import type { EventCursor } from '../events/cursor.ts';
import { COVERED, DEVICE_STATE, EVENT, FLAG, POINT } from '../events/wire.gen.ts';
import { UserProblem } from '../problem.ts';
import { PRELUDE } from './format.ts';
import { RECORD1, Translation1 } from './format1.ts';
import { RecordingReader } from './reader.ts';

const OLD = new URL('../../test/recordings/format-1/6.12.vfr', import.meta.url).pathname;

/** Byte offsets of wire version 3. */
const AT = {
  point: 14,
  flags: 15,
  ret: 40,
  openCount: 44,
  file: 88,
  uid: 108,
  device: 128,
  driver: 264,
};

interface Fields {
  readonly point: number;
  readonly flags?: number;
  readonly ret?: number;
  /** Low and high word. */
  readonly file?: readonly [number, number];
}

/** A record of version 3, translated. */
function translated({ point, flags = 0, ret = 0, file = [0, 0] }: Fields): EventCursor {
  const isNamed = (flags & FLAG.EVENT_NAMED) !== 0;
  // It lies somewhere in its block.
  const start = 48;
  const bytes = Buffer.alloc(start + RECORD1.named);
  const record = bytes.subarray(start);
  record.writeBigUInt64LE(123_456_789_012n, 0);
  record.writeUInt8(point, AT.point);
  record.writeUInt8(flags, AT.flags);
  record.write('qemu', 24);
  record.writeInt32LE(ret, AT.ret);
  record.writeInt32LE(3, AT.openCount);
  record.writeUInt32LE(file[0], AT.file);
  record.writeUInt32LE(file[1], AT.file + 4);
  record.writeUInt32LE(1000, AT.uid);
  if (isNamed) {
    record.write('device', AT.device);
    record.write('driver', AT.driver);
  }
  const { buffer, byteOffset, length } = bytes;
  const words = new Int32Array(buffer.slice(byteOffset, byteOffset + length));
  return new Translation1().translate(words, start / 4);
}

describe('a record of wire version 3', () => {
  it('keeps what has not changed', () => {
    const event = translated({ point: POINT.VFIO_DEVICE_OPEN, flags: FLAG.EVENT_NAMED, ret: -16 });
    const { time, point, flags, ret, openCount, uid, fd, covered, deviceState, inode } = event;
    assert.deepEqual(
      [time, point, flags, ret, openCount, uid],
      [123_456_789_012, POINT.VFIO_DEVICE_OPEN, FLAG.EVENT_NAMED, -16, 3, 1000],
    );
    assert.deepEqual([fd, covered, deviceState, inode], [-1, 0, 0, 0]);
    assert.deepEqual(
      [event.comm(), event.name('device'), event.name('driver')],
      ['qemu', 'device', 'driver'],
    );
  });

  it('had the descriptor of a file that a snapshot found in its result', () => {
    const { SNAPSHOT_OPEN, SNAPSHOT_GROUP, SNAPSHOT_VM, SNAPSHOT_VM_FILE } = POINT;
    const points = [SNAPSHOT_OPEN, SNAPSHOT_GROUP, SNAPSHOT_VM, SNAPSHOT_VM_FILE];
    for (const point of [...points, POINT.SNAPSHOT_VM_ENTRY]) {
      const { ret, fd } = translated({ point, flags: FLAG.EVENT_SNAPSHOT, ret: 7 });
      assert.deepEqual([ret, fd], [0, 7]);
    }
  });

  it('had bits in the result', () => {
    const all = COVERED.SYSFS | COVERED.FILES | COVERED.DEBUGFS;
    const end = translated({ point: POINT.SNAPSHOT_RUN, flags: FLAG.EVENT_END, ret: all });
    assert.deepEqual([end.ret, end.covered, end.deviceState, end.fd], [0, all, 0, -1]);
    const device = translated({ point: POINT.SNAPSHOT_DEVICE, ret: DEVICE_STATE.LEAVING });
    const { ret, covered, deviceState, fd } = device;
    assert.deepEqual([ret, covered, deviceState, fd], [0, 0, DEVICE_STATE.LEAVING, -1]);
  });

  it('had the inode of an mdev in the key of a file', () => {
    const { MDEV_PROBE, MDEV_REMOVE, MDEV_RELEASE, SNAPSHOT_DEVICE } = POINT;
    for (const point of [MDEV_PROBE, MDEV_REMOVE, MDEV_RELEASE, SNAPSHOT_DEVICE]) {
      const event = translated({ point, flags: FLAG.EVENT_NAMED, file: [4711, 1] });
      assert.equal(event.inode, 4711 + 2 ** 32);
      assert.equal(event.has(EVENT.file), false);
    }
    const end = translated({ point: MDEV_PROBE, flags: FLAG.EVENT_END, file: [4711, 0] });
    assert.equal(end.has(EVENT.file), false);
    const close = translated({ point: POINT.VFIO_DEVICE_CLOSE, file: [4711, 1] });
    assert.deepEqual([close.has(EVENT.file), close.file], [true, 4711 + 2 ** 32]);
  });
});

describe('a recording of format 1', () => {
  const good = readFileSync(OLD);
  const file = join(scratch(), 'old.vfr');

  /** The same with another text in its header. */
  function withHeader(change: (json: string) => string): string {
    const length = good.readUInt32LE(PRELUDE.length);
    const json = good.subarray(PRELUDE.size, PRELUDE.size + length).toString();
    const text = Buffer.from(change(json));
    assert.notEqual(text.toString(), json);
    const prelude = Buffer.from(good.subarray(0, PRELUDE.size));
    prelude.writeUInt32LE(text.length, PRELUDE.length);
    prelude.writeUInt32LE(crc32(text), PRELUDE.crc);
    writeFileSync(file, Buffer.concat([prelude, text, good.subarray(PRELUDE.size + length)]));
    return file;
  }

  function refusal(path: string): UserProblem {
    try {
      new RecordingReader(path).close();
    } catch (error) {
      assert.ok(error instanceof UserProblem);
      return error;
    }
    throw new Error('it was read');
  }

  it('is one, is whole and is read to its end', () => {
    assert.equal(good.readUInt32LE(PRELUDE.format), 1);
    const { notes, problem } = played(OLD);
    assert.equal(problem, undefined);
    assert.equal(notes.records.length, 489);
  });

  it('has its points in the words of today', () => {
    const reader = new RecordingReader(OLD);
    const { points } = reader.header;
    reader.close();
    const create = points.find(({ point }) => point === 'mdev.create');
    assert.deepEqual(
      [create?.state, create?.description],
      ['attached', 'somebody wrote a UUID to create'],
    );
    const inferred = points.find(({ state }) => state === 'inferred');
    assert.equal(inferred?.point, 'vfio.group.unset_container');
  });

  it('is refused if its records are of a still older version, with the version that reads it', () => {
    const { message, next } = refusal(
      withHeader((json) => json.replace('"version":3', '"version":2')),
    );
    assert.match(message, /wire format version 2, this agent reads version 4$/);
    assert.equal(next, 'replay it with vfioscope 0.1.0, which recorded it');
  });

  it('is refused if it has a point that this agent does not know', () => {
    const path = withHeader((json) => json.replace('"point":"kvm.put"', '"point":"kvm.other"'));
    const { message, next } = refusal(path);
    assert.match(message, /it has no point named "kvm\.other"$/);
    assert.equal(next, 'replay it with vfioscope 0.1.0, which recorded it');
  });

  it('is damaged if its header is none', () => {
    const { message } = refusal(withHeader((json) => json.replaceAll('"meaning"', '"other"')));
    assert.match(message, /is damaged at byte 24: its header: points\.0\.meaning is missing$/);
  });
});
