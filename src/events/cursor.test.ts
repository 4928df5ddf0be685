import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { cases } from '../../test/kit/random.ts';
import { EventCursor } from './cursor.ts';
import { encodeRecord, type RecordFields } from './encoder.ts';
import { EVENT, FLAG, NAMES, WIRE } from './wire.gen.ts';

const BASE: RecordFields = { time: 1, seq: 2, point: 3, pid: 4, tid: 5, comm: 'qemu' };

function cursorOn(bytes: Uint8Array): EventCursor {
  return new EventCursor(bytes.buffer as ArrayBuffer);
}

function read(fields: Partial<RecordFields>): EventCursor {
  return cursorOn(encodeRecord({ ...BASE, ...fields }));
}

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const i32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const u8 = fc.integer({ min: 0, max: 255 });
const ascii = (maxLength: number) =>
  fc.string({
    unit: fc.integer({ min: 33, max: 126 }).map((c) => String.fromCharCode(c)),
    maxLength,
  });

const anyFields = fc.record({
  time: fc.oneof(fc.maxSafeInteger().map(Math.abs), fc.constant(Number.MAX_SAFE_INTEGER)),
  seq: u32,
  cpu: fc.integer({ min: 0, max: 2 ** 16 - 1 }),
  point: u8,
  flags: u8.map((flags) => flags & ~FLAG.EVENT_NAMED),
  pid: u32,
  tid: u32,
  comm: ascii(15),
  ret: i32,
  openCount: i32,
  usersCount: i32,
  groupId: i32,
  vmPid: i32,
});

describe('EventCursor', () => {
  it('reads back every number that was written', () => {
    fc.assert(
      fc.property(anyFields, (fields) => {
        const { time, seq, cpu, point, flags, pid, tid, ret } = read(fields);
        const { openCount, usersCount, groupId, vmPid } = read(fields);
        const found = { time, seq, cpu, point, flags, pid, tid, ret };
        const { comm: _, ...numbers } = fields;
        assert.deepEqual({ ...found, openCount, usersCount, groupId, vmPid }, numbers);
      }),
      cases(500),
    );
  });

  it('reads times exactly up to 2^53', () => {
    for (const time of [2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1, 2 ** 53]) {
      assert.equal(read({ time }).time, time);
    }
  });

  it('reads a cgroup id beyond 32 bits', () => {
    const bytes = encodeRecord(BASE);
    new DataView(bytes.buffer).setBigUint64(EVENT.cgroup, 0x1_2345_6789n, true);
    assert.equal(cursorOn(bytes).cgroup, 0x1_2345_6789);
  });

  it('distinguishes begin and end, exiting and living, named and plain', () => {
    fc.assert(
      fc.property(fc.boolean(), fc.boolean(), fc.boolean(), (end, exiting, named) => {
        const flags = (end ? FLAG.EVENT_END : 0) | (exiting ? FLAG.EVENT_EXITING : 0);
        const cursor = read(named ? { flags, names: {} } : { flags });
        assert.deepEqual([cursor.isEnd, cursor.isExiting, cursor.isNamed], [end, exiting, named]);
      }),
      cases(100),
    );
  });

  it('reads what only a record with names has, and else that it is none', () => {
    const found = { inode: 2 ** 33 + 7, fd: 20, covered: 0xffff, deviceState: 0x8001 };
    const { inode, fd, covered, deviceState, isNamed } = read({ ...found, names: {} });
    assert.deepEqual({ inode, fd, covered, deviceState }, found);
    assert.equal(isNamed, true);
    for (const [field, value] of Object.entries(found)) {
      const alone = read({ [field]: value });
      assert.equal(alone[field as keyof typeof found], value);
      assert.equal(alone.isNamed, true);
    }
    for (const plain of [read({ ret: 20 }), read({ names: {} })]) {
      const none = [plain.inode, plain.fd, plain.covered, plain.deviceState];
      assert.deepEqual(none, [0, -1, 0, 0]);
    }
  });

  it('says of each key alone whether it names an object', () => {
    const keys = ['dev', 'vdev', 'parent', 'kvm', 'file'] as const;
    for (const key of keys) {
      const cursor = read({ [key]: 7 });
      for (const other of keys) assert.equal(cursor.has(EVENT[other]), other === key, other);
    }
  });

  it('takes a key for one whose low or high word is zero', () => {
    for (const value of [1n, 1n << 32n]) {
      const bytes = encodeRecord(BASE);
      new DataView(bytes.buffer).setBigUint64(EVENT.kvm, value, true);
      assert.equal(cursorOn(bytes).has(EVENT.kvm), true, `${value}`);
    }
  });

  it('reads every name, up to the longest that fits', () => {
    const texts = fc.record({
      device: ascii(39),
      bus: ascii(15),
      type: ascii(39),
      parent: ascii(39),
      driver: ascii(39),
    });
    fc.assert(
      fc.property(texts, (names) => {
        const cursor = read({ names });
        for (const [field, text] of Object.entries(names)) {
          assert.equal(cursor.name(field as keyof typeof names), text);
        }
      }),
      cases(100),
    );
  });

  it('cuts a longer name as the kernel does, leaving its neighbours alone', () => {
    const cursor = read({ names: { device: 'd'.repeat(60), bus: 'b'.repeat(60), type: 't' } });
    assert.equal(cursor.name('device'), 'd'.repeat(39));
    assert.equal(cursor.name('bus'), 'b'.repeat(15));
    assert.equal(cursor.name('type'), 't');
  });

  it('stops at the end of a field that has no NUL', () => {
    const bytes = encodeRecord({ ...BASE, names: { bus: 'next' } });
    bytes.fill(0x78, NAMES.device, NAMES.type);
    assert.equal(cursorOn(bytes).name('device'), 'x'.repeat(40));
    assert.equal(cursorOn(bytes).name('bus'), 'x'.repeat(16));
  });

  it('replaces bytes that are not UTF-8 instead of failing', () => {
    const bytes = encodeRecord({ ...BASE, names: { device: 'ab' } });
    bytes[NAMES.device] = 0xff;
    assert.equal(cursorOn(bytes).name('device'), '\ufffdb');
  });

  it('shows a guid as the kernel prints it', () => {
    // lib/uuid.c: guid_t keeps the first three groups in little endian.
    const raw = Buffer.from('33221100554477668899aabbccddeeff', 'hex');
    const bytes = encodeRecord({ ...BASE, names: {} });
    bytes.set(raw, NAMES.uuid);
    assert.equal(cursorOn(bytes).uuid(), '00112233-4455-6677-8899-aabbccddeeff');
  });

  it('writes a guid as the kernel stores it', () => {
    const uuid = '00112233-4455-6677-8899-aabbccddeeff';
    const bytes = encodeRecord({ ...BASE, names: { uuid } });
    const raw = Buffer.from(bytes.subarray(NAMES.uuid, NAMES.uuid + 16));
    assert.equal(raw.toString('hex'), '33221100554477668899aabbccddeeff');
  });

  it('reads back any uuid', () => {
    fc.assert(
      fc.property(fc.uuid(), (uuid) => {
        assert.equal(read({ names: { uuid } }).uuid(), uuid);
      }),
      cases(100),
    );
  });

  it('reads any record of a buffer, and the first again after the last', () => {
    const records = [BASE, { ...BASE, time: 11, names: { device: 'a' } }, { ...BASE, time: 12 }];
    const encoded = records.map(encodeRecord);
    const start = 16;
    const buffer = new ArrayBuffer(start + encoded.reduce((sum, one) => sum + one.length, 0));
    const positions: number[] = [];
    let at = 0;
    for (const bytes of encoded) {
      new Uint8Array(buffer, start).set(bytes, at);
      positions.push(at);
      at += bytes.length;
    }
    const cursor = new EventCursor(buffer, start);
    const times = [0, 1, 2, 0].map((i) => {
      cursor.moveTo(positions[i]);
      return cursor.time;
    });
    assert.deepEqual(times, [1, 11, 12, 1]);
    cursor.moveTo(positions[1]);
    assert.equal(cursor.name('device'), 'a');
  });
});

describe('encodeRecord', () => {
  it('writes records of the sizes that the kernel writes', () => {
    assert.equal(encodeRecord(BASE).length, WIRE.eventSize);
    assert.equal(encodeRecord({ ...BASE, names: {} }).length, WIRE.namedSize);
  });

  it('leaves what is not given as the kernel leaves it', () => {
    const { ret, openCount, usersCount, groupId, vmPid, cgroup } = read({});
    assert.deepEqual([ret, openCount, usersCount, groupId, vmPid, cgroup], [0, -1, -1, -1, 0, 0]);
  });

  it('writes comm with its NUL', () => {
    const bytes = encodeRecord({ ...BASE, comm: 'x'.repeat(30), ret: -1 });
    const comm = Buffer.from(bytes.subarray(EVENT.comm, EVENT.comm + 16)).toString();
    assert.equal(comm, `${'x'.repeat(15)}\0`);
  });

  it('gives different keys to different objects, in both words', () => {
    const lows = new Set<number>();
    const highs = new Set<number>();
    for (let dev = 1; dev <= 1000; dev++) {
      const cursor = read({ dev });
      lows.add(cursor.words[EVENT.dev >> 2]);
      highs.add(cursor.words[(EVENT.dev >> 2) + 1]);
    }
    assert.deepEqual([lows.size, highs.size], [1000, 1000]);
  });
});
