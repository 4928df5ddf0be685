import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { crc32, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { cases } from '../../test/kit/random.ts';
import {
  HEADER,
  type Notes,
  POINTS,
  played,
  recordScenario,
  START,
  scratch,
} from '../../test/kit/recorded.ts';
import { encodeRecord } from '../events/encoder.ts';
import { POINT, WIRE } from '../events/wire.gen.ts';
import { UserProblem } from '../problem.ts';
import { BLOCK, blockCrc, FORMAT, KIND, MAGIC, PRELUDE } from './format.ts';
import { RecordingWriter } from './writer.ts';

const file = join(scratch(), 'damaged.vfr');

recordScenario(file, (scenario) => {
  const device = scenario.create(scenario.parent());
  scenario.wait(2);
  scenario.remove(device);
  scenario.wait(2);
});
const good = readFileSync(file);
const whole = played(file).notes.calls;
const firstBlock = PRELUDE.size + good.readUInt32LE(PRELUDE.length);

interface Found {
  /** Undefined when the file could not even be opened. */
  readonly notes: Notes | undefined;
  readonly problem: UserProblem | undefined;
}

/** What a reader makes of these bytes. @throws anything that is no problem of the user's */
function find(bytes: Uint8Array): Found {
  writeFileSync(file, bytes);
  return findFile(file);
}

function findFile(path: string): Found {
  try {
    const { notes, problem } = played(path);
    return { notes, problem };
  } catch (error) {
    if (!(error instanceof UserProblem)) throw error;
    return { notes: undefined, problem: error };
  }
}

/** That it says what is wrong, at which byte, and what to do. */
function assertReported({ problem }: Found, what: RegExp): void {
  assert.ok(problem);
  assert.match(problem.message, what);
  assert.ok(problem.message.includes(file), problem.message);
  assert.doesNotMatch(`${problem.message} ${problem.next}`, /undefined|NaN|\n/);
  assert.ok(problem.next.length > 10);
}

function changed(change: (bytes: Buffer) => Buffer | undefined): Buffer {
  const bytes = Buffer.from(good);
  return change(bytes) ?? bytes;
}

describe('a recording that was cut', () => {
  it('is reported as such at every byte, and played up to there', () => {
    const boundaries = new Set<number>();
    for (let at = firstBlock; at < good.length; ) {
      boundaries.add(at);
      at += BLOCK.size + good.readUInt32LE(at + BLOCK.packed);
    }
    assert.ok(boundaries.size >= 4);
    for (let length = 0; length < good.length; length++) {
      const found = find(good.subarray(0, length));
      if (length === 0) assertReported(found, / is empty$/);
      else if (length < firstBlock)
        assertReported(found, /in the middle of its header at byte \d+$/);
      else if (boundaries.has(length))
        assertReported(found, /without an end mark at byte \d+: .*; \d+ records/);
      else
        assertReported(
          found,
          /in the middle of a block at byte \d+; \d+ records before it were read$/,
        );
      const calls = found.notes?.calls ?? [];
      assert.deepEqual(calls, whole.slice(0, calls.length));
      assert.equal(found.notes !== undefined, length >= firstBlock);
    }
  });
});

describe('a recording with a wrong byte', () => {
  it('is never taken for a good one, wherever the byte is', () => {
    // Most of the file is the header, which one checksum covers.
    for (let at = 0; at < good.length; at += at > PRELUDE.size && at < firstBlock - 9 ? 9 : 1) {
      const found = find(
        changed((bytes) => {
          bytes[at] ^= 1 + (at % 255);
          return bytes;
        }),
      );
      assertReported(found, /at byte \d+|\(byte \d+\)/);
      const calls = found.notes?.calls ?? [];
      assert.deepEqual(calls, whole.slice(0, calls.length));
    }
  });

  it('is not taken for a good one either when several are wrong, missing or too many', () => {
    const part = fc.record({
      at: fc.nat(good.length - 1),
      removed: fc.nat(40),
      added: fc.uint8Array({ maxLength: 40 }),
    });
    fc.assert(
      fc.property(part, ({ at, removed, added }) => {
        const bytes = Buffer.concat([good.subarray(0, at), added, good.subarray(at + removed)]);
        const { notes, problem } = find(bytes);
        if (bytes.equals(good)) return;
        assert.ok(problem);
        const calls = notes?.calls ?? [];
        assert.deepEqual(calls, whole.slice(0, calls.length));
      }),
      cases(1000),
    );
  });

  it('lacks a block', () => {
    const next = firstBlock + BLOCK.size + good.readUInt32LE(firstBlock + BLOCK.packed);
    const bytes = changed((all) =>
      Buffer.concat([all.subarray(0, firstBlock), all.subarray(next)]),
    );
    assertReported(
      find(bytes),
      /damaged at byte \d+: block 1 follows where block 0 should; 0 records/,
    );
  });

  it('continues after its end', () => {
    const found = find(Buffer.concat([good, Buffer.from('x')]));
    assertReported(found, /damaged at byte \d+: something follows after its end; \d+ records/);
    assert.deepEqual(found.notes?.calls, whole);
  });

  it('says it holds more than a block can: nothing of that size is made', () => {
    for (const field of [BLOCK.packed, BLOCK.raw]) {
      const bytes = changed((all) => {
        all.writeUInt32LE(0xffff_fff0, firstBlock + field);
        return all;
      });
      assertReported(find(bytes), /a block of \d+ bytes for \d+ is not possible/);
    }
  });

  it('unpacks to more or less than it says', () => {
    for (const difference of [-8, 8]) {
      const bytes = changed((all) => {
        const packed = all.readUInt32LE(firstBlock + BLOCK.packed);
        const raw = all.readUInt32LE(firstBlock + BLOCK.raw);
        all.writeUInt32LE(raw + difference, firstBlock + BLOCK.raw);
        all.writeUInt32LE(blockCrc(all.subarray(firstBlock), packed), firstBlock + BLOCK.crc);
        return all;
      });
      assertReported(find(bytes), /its block cannot be unpacked/);
    }
  });
});

describe('a block whose checksum is right and whose items are not', () => {
  /** A file with one block of these bytes. */
  const holding = (raw: Uint8Array, until = START) => {
    const writer = new RecordingWriter({ path: file, header: HEADER, overwrite: true });
    writer.block(raw, until);
    writer.end(until);
    return findFile(file);
  };
  const item = (kind: number, payload: Uint8Array, length = payload.length) => {
    const bytes = Buffer.alloc((8 + payload.length + 7) & ~7);
    bytes.writeUInt32LE(kind, 0);
    bytes.writeUInt32LE(length, 4);
    bytes.set(payload, 8);
    return bytes;
  };
  const doubles = (...values: number[]) => new Uint8Array(new Float64Array(values).buffer);
  const record = encodeRecord({
    ...{ time: START, seq: 0, point: POINT.KVM_PUT, pid: 1, tid: 1, comm: 'x' },
  });

  for (const [title, raw, what] of [
    ['a record that is too short', item(KIND.record, record.subarray(8)), /record of \d+ bytes/],
    [
      'a record with the size of one with names',
      item(KIND.record, new Uint8Array(WIRE.namedSize)),
      /record of \d+ bytes/,
    ],
    ['an item longer than its block', item(KIND.record, record, 4096), /longer than its block/],
    ['an item of 4 GiB', item(KIND.record, record, 0xffff_ffff), /longer than its block/],
    ['half an item', Buffer.alloc(4, 1), /longer than its block/],
    ['an item of a kind that is not', item(77, record), /no item of kind 77/],
    ['a loss without a reason', item(KIND.lost, doubles(9, 1)), /a loss that means nothing/],
    ['a loss of less than nothing', item(KIND.lost, doubles(0, -1)), /a loss that means nothing/],
    ['a loss of no number', item(KIND.lost, doubles(0, Number.NaN)), /a loss that means nothing/],
    ['a time that is none', item(KIND.caughtUp, doubles(Number.NaN)), /a time that means nothing/],
    ['no time', item(KIND.caughtUp, doubles()), /a time that means nothing/],
    ['attempts that are none', item(KIND.caughtUp, doubles(1, 0.5)), /a time that means nothing/],
    [
      'points that are no JSON',
      item(KIND.watching, Buffer.from('{')),
      /points that cannot be read/,
    ],
    [
      'points that are none',
      item(KIND.watching, Buffer.from('[{}]')),
      /points that cannot be read/,
    ],
    [
      'a point that nobody knows',
      item(KIND.watching, Buffer.from(JSON.stringify([{ ...POINTS[0], point: 'mdev.other' }]))),
      /no point is named "mdev\.other"/,
    ],
  ] as const) {
    it(`is damaged, and what is before that is played: ${title}`, () => {
      const found = holding(Buffer.concat([item(KIND.record, record), raw]));
      assertReported(found, what);
      assert.match(found.problem?.message ?? '', /damaged at byte \d+: .*; 1 records before it/);
      assert.equal(found.notes?.records.length, 1);
    });
  }

  for (const until of [Number.NaN, Number.POSITIVE_INFINITY, -1, 2 ** 65]) {
    it(`is damaged when its time is ${until}`, () => {
      assertReported(holding(item(KIND.record, record), until), /its block has no time/);
    });
  }

  it('never makes anything worse than a problem, whatever the bytes', () => {
    const anyItem = fc
      .record({
        kind: fc.integer({ min: 0, max: 5 }),
        payload: fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          fc.float64Array({ maxLength: 8 }).map((a) => doubles(...a)),
        ),
        longer: fc.integer({ min: -8, max: 8 }),
      })
      .map(({ kind, payload, longer }) =>
        item(kind, payload, Math.max(0, payload.length + longer)),
      );
    fc.assert(
      fc.property(fc.array(anyItem, { maxLength: 6 }), (items) => {
        holding(Buffer.concat(items));
      }),
      cases(500),
    );
  });
});

describe('a file that is no recording of ours', () => {
  for (const [title, bytes, what, next] of [
    ['gzip', gzipSync('x'), /not a recording .* at byte 0 it has 1f8b/, /gunzip/],
    ['zstd', Buffer.from('28b52ffd00', 'hex'), /not a recording .* 28b52ffd/, /unzstd/],
    [
      'PNG',
      Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
      /not a recording .* 89504e47/,
      /record made/,
    ],
    [
      'ELF',
      readFileSync(process.execPath).subarray(0, 4096),
      /not a recording .* 7f454c46/,
      /made/,
    ],
    ['text', Buffer.from('hello'), /not a recording .* 68656c6c/, /record made/],
    ['one byte', Buffer.from('x'), /not a recording .* 78,/, /record made/],
  ] as const) {
    it(`is refused as such: ${title}`, () => {
      const found = find(bytes);
      assertReported(found, what);
      assert.match(found.problem?.next ?? '', next);
      assert.equal(found.notes, undefined);
    });
  }

  it('is refused as such: a directory, a file that is not there, a device', () => {
    assert.match(findFile('/tmp').problem?.message ?? '', /^\/tmp is a directory$/);
    assert.match(findFile('/no/such').problem?.message ?? '', /^cannot read \/no\/such: ENOENT$/);
    assert.match(findFile('/dev/null').problem?.message ?? '', /^\/dev\/null is empty$/);
    assert.match(findFile('/dev/zero').problem?.message ?? '', /not a recording/);
  });

  it('is refused as such: one of a newer format', () => {
    const found = find(
      changed((bytes) => {
        bytes.writeUInt32LE(FORMAT + 1, PRELUDE.format);
        return bytes;
      }),
    );
    assertReported(
      found,
      /a recording of format 3, and this agent reads formats 1 to 2 \(byte 12\)$/,
    );
    assert.match(found.problem?.next ?? '', /at least as new/);
  });

  it('is refused as such: records of another wire format', () => {
    for (const [wire, what] of [
      [{ version: WIRE.version + 1 }, /wire format version/],
      [{ points: { ...HEADER.wire.points, BEYOND: 63 } }, /BEYOND is 63, expected none/],
      [{ event: HEADER.wire.event.slice(1) }, /event field 0 is /],
    ] as const) {
      recordScenario(file, () => {}, { wire: { ...HEADER.wire, ...wire } });
      const found = findFile(file);
      assertReported(found, what);
      assert.match(found.problem?.next ?? '', /replay it with vfioscope 0\.1\.0/);
    }
  });

  it('is refused as such: a header that says something else', () => {
    for (const json of [
      '',
      '{',
      'null',
      '[]',
      '{"agent":1}',
      JSON.stringify({ ...HEADER, clock: 1 }),
    ]) {
      const text = Buffer.from(json);
      const prelude = Buffer.from(good.subarray(0, PRELUDE.size));
      prelude.writeUInt32LE(text.length, PRELUDE.length);
      prelude.writeUInt32LE(crc32(text), PRELUDE.crc);
      assertReported(find(Buffer.concat([prelude, text])), /damaged at byte 24: its header: \S/);
    }
  });

  it('believes no header length', () => {
    const bytes = changed((all) => {
      all.writeUInt32LE(0xffff_ffff, PRELUDE.length);
      return all;
    });
    assertReported(find(bytes), /a header of 4294967295 bytes is not possible/);
  });

  it('begins with what no text begins with', () => {
    assert.equal(MAGIC.length, PRELUDE.format);
    assert.equal(good[0], 0x89);
  });
});
