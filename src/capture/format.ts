/**
 * How a recording lies in its file; docs/recordings.md tells it whole.
 *
 * A file is a prelude, a header as JSON, blocks, and an end mark. A block is written
 * at once, so that a recorder that is killed leaves whole blocks behind. Numbers are
 * little-endian, as in the records themselves.
 */
import { crc32 } from 'node:zlib';
import Type, { type Static } from 'typebox';
import { Value } from 'typebox/value';
import type { UncountedLoss } from '../events/source.ts';
import { plain } from '../events/text.ts';
import { WIRE } from '../events/wire.gen.ts';
import { obstacleToReading, type WireDescription } from '../events/wire-description.ts';

/** No text begins like this, and a transfer as text would change it. */
export const MAGIC = Buffer.from('\x89vfioscope\r\n', 'latin1');
/** A new number for everything that an older reader would misunderstand. */
export const FORMAT = 1;

/** Byte offsets in front of the header; magic and format stay there in every format. */
export const PRELUDE = { format: 12, length: 16, crc: 20, size: 24 } as const;
/** Bytes of the largest header that is believed. */
export const MAX_HEADER = 1 << 20;

/**
 * Byte offsets in front of a block: which of the two it is, bytes that follow, bytes
 * that these unpack to, how many blocks were before it, the time (a double, in ns on
 * the boot-time clock) up to which everything has been told, and the CRC-32 of what
 * stands before the CRC and behind it.
 */
export const BLOCK = {
  magic: 0,
  packed: 4,
  raw: 8,
  number: 12,
  until: 16,
  crc: 24,
  size: 28,
} as const;
export const BLOCK_MAGIC = Buffer.from('vfsB').readUInt32LE();
export const END_MAGIC = Buffer.from('vfsE').readUInt32LE();

/** Unpacked bytes with which a block is full, and which none exceeds. */
export const FULL = 1 << 18;
export const MAX_RAW = 1 << 20;
/** What zstd makes of bytes that cannot be packed is a little longer. */
export const MAX_PACKED = MAX_RAW + (1 << 16);
/** Base 2 logarithm of the bytes that zstd may look back: never more than a block. */
export const WINDOW_LOG = 20;

/** A block is a row of items: kind and payload's bytes, payload, up to 7 bytes to the next multiple of 8. */
export const ITEM = { kind: 0, length: 4, size: 8 } as const;
export const KIND = { record: 1, lost: 2, caughtUp: 3, watching: 4 } as const;

/** Numbers of reasons why records are missing; none is used again. */
export const LOSS: Readonly<Record<UncountedLoss, number>> = {
  probe_missed: 0,
  calls_full: 1,
  malformed: 2,
  unreadable: 3,
};
export const LOSSES = Object.keys(LOSS) as readonly UncountedLoss[];

/** No boot-time clock gets further, in ns. */
export const MAX_TIME = 2 ** 64;

const Text = Type.String();
const Count = Type.Integer({ minimum: 0 });
const Time = Type.Number({ minimum: 0, maximum: MAX_TIME });
const Numbers = Type.Record(Text, Count);
const Fields = Type.Array(
  Type.Object({ name: Text, offset: Count, size: Count, signed: Type.Boolean() }),
);

export const PointsSchema = Type.Array(
  Type.Object({
    point: Text,
    module: Text,
    meaning: Text,
    state: Type.Enum(['attached', 'implied', 'waiting', 'failed']),
    symbol: Type.Optional(Text),
    method: Type.Optional(Text),
    reason: Type.Optional(Text),
    missed: Count,
    limited: Type.Boolean(),
  }),
);

export const HeaderSchema = Type.Object({
  /** Version of the agent that recorded. */
  agent: Text,
  /** As `uname -r` and `uname -m` (in Node's words) have it. */
  kernel: Text,
  arch: Text,
  bootId: Text,
  /** The same moment on both clocks, ns. */
  clock: Type.Object({ boot: Time, wall: Time }),
  /** ns on the boot-time clock. */
  startedAt: Time,
  ringBytes: Count,
  /** What could be seen when the recording began. */
  points: PointsSchema,
  /** What a record looks like. */
  wire: Type.Object({
    ...{ version: Count, eventSize: Count, namedSize: Count, laneSize: Count },
    ...{ event: Fields, names: Fields, lane: Fields, points: Numbers, flags: Numbers },
  }),
});

export type Header = Readonly<Static<typeof HeaderSchema>>;

/** The CRC-32 of a block that begins where `bytes` do. */
export function blockCrc(bytes: Buffer, packed: number): number {
  const before = crc32(bytes.subarray(0, BLOCK.crc));
  return crc32(bytes.subarray(BLOCK.size, BLOCK.size + packed), before);
}

/** Bytes of an item with its padding. */
export function itemBytes(payload: number): number {
  return (ITEM.size + payload + 7) & ~7;
}

/**
 * Reads JSON of a known shape; its texts become plain.
 * @throws {Error} in plain words, when it is no JSON or has another shape
 */
export function parseAs<Schema extends Type.TSchema>(schema: Schema, text: string): Static<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(text, (_, part) => (typeof part === 'string' ? plain(part) : part));
  } catch (error) {
    throw new Error(plain((error as Error).message));
  }
  if (Value.Check(schema, value)) return value;
  const [{ instancePath, message }] = Value.Errors(schema, value);
  throw new Error(plain(`${instancePath.slice(1).replaceAll('/', '.')} ${message}`.trim()));
}

/** Why this agent cannot read records of that format, or undefined; lanes are not recorded. */
export function unreadable(wire: WireDescription): string | undefined {
  const { lane, laneSize } = WIRE;
  const difference = obstacleToReading(WIRE, { ...wire, lane, laneSize });
  return difference && plain(difference);
}
