/**
 * The layout of a recording in its file, which docs/recordings.md describes.
 *
 * A file is a prelude, a header as JSON, blocks, and an end mark. A block is written
 * at once, so that a recorder that is killed leaves whole blocks behind. Numbers are
 * little-endian, as in the records themselves.
 */

import { crc32 } from 'node:zlib';
import { messageOf } from '../errors.ts';
import { POINTS, type PointName } from '../events/points.ts';
import type { UncountedLoss } from '../events/source.ts';
import { WIRE } from '../events/wire.gen.ts';
import { failureToRead } from '../events/wire-description.ts';
import { plain } from '../plain.ts';
import { faults, type Schema, stringOf, type Value } from '../schema.ts';

/** No text begins like this, and a transfer as text would change it. */
export const MAGIC = Buffer.from('\x89vfioscope\r\n', 'latin1');
/** A new number for everything that an older reader would misunderstand. */
export const FORMAT = 2;
/** Older formats that are translated when they are read: format1.ts. */
export const OLDEST_FORMAT = 1;

/** Byte offsets in front of the header; magic and format stay there in every format. */
export const PRELUDE = { format: 12, length: 16, crc: 20, size: 24 } as const;
/** Bytes of the largest header that is believed. */
export const MAX_HEADER = 1 << 20;

/**
 * Byte offsets in front of a block: which of the two it is, bytes that follow, bytes
 * that these unpack to, how many blocks were before it, the time (a double, in ns on
 * the boot-time clock) up to which the recording is complete, and the CRC-32 of what
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
/** Bytes of the points of an agent as JSON, at most: several times those of all points that there are. */
export const MAX_POINTS = 1 << 17;
/** What zstd makes of bytes that cannot be packed is a little longer. */
export const MAX_PACKED = MAX_RAW + (1 << 16);
/** Base 2 logarithm of the bytes that zstd may refer back: never more than a block. */
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

export const Text = { type: 'string' } as const;
export const Count = { type: 'integer', minimum: 0 } as const;
const Flag = { type: 'boolean' } as const;
const OptionalText = { type: 'string', optional: true } as const;
const Time = { type: 'number', minimum: 0, maximum: MAX_TIME } as const;
export const Numbers = { type: 'object', additionalProperties: Count } as const;
export const Fields = list(record({ name: Text, offset: Count, size: Count, signed: Flag }));

/** What all formats say of a point. {@link unknownPoint} checks the name. */
export const STATUS_BASE = {
  point: stringOf<PointName>(),
  module: Text,
  symbol: OptionalText,
  method: OptionalText,
  reason: OptionalText,
  missed: Count,
  limited: Flag,
} as const;

const PointsSchema = list(
  record({
    ...STATUS_BASE,
    description: Text,
    state: { enum: ['attached', 'inferred', 'waiting', 'failed', 'detached'] },
  }),
);
export type Points = Value<typeof PointsSchema>;

/** What all formats say in a header. */
export const HEADER_BASE = {
  /** Version of the agent that recorded. */
  agent: Text,
  /** As `uname -r` and `uname -m` (in Node's words) have it. */
  kernel: Text,
  arch: Text,
  bootId: Text,
  /** Both clocks, read at the same time, ns. */
  clock: record({ boot: Time, wall: Time }),
  /** ns on the boot-time clock. */
  startedAt: Time,
  ringBytes: Count,
  /** What its kernel did when the recording began (src/events/traits.ts), as far as that was known. */
  traits: { type: 'object', additionalProperties: Flag, optional: true },
} as const;

const HeaderSchema = record({
  ...HEADER_BASE,
  /** What could be observed when the recording began. */
  points: PointsSchema,
  /** What a record looks like. */
  wire: record({
    ...{ version: Count, eventSize: Count, namedSize: Count, pointLimit: Count },
    ...{ event: Fields, names: Fields },
    ...{ points: Numbers, flags: Numbers, coverage: Numbers, deviceStates: Numbers },
  }),
});

export type Header = Value<typeof HeaderSchema>;

/** An object that may have more keys than these, which later versions may add. */
export function record<const Properties extends Readonly<Record<string, Schema>>>(
  properties: Properties,
) {
  return { type: 'object', properties, additionalProperties: true } as const;
}

export function list<const Items extends Schema>(items: Items) {
  return { type: 'array', items } as const;
}

/** @throws {Error} in plain words, when it is no header of this format */
export function parseHeader(json: string): Header {
  return parseAs(HeaderSchema, json);
}

/** @throws {Error} in plain words, when they are no points of this format */
export function parsePoints(json: string): Points {
  return parseAs(PointsSchema, json);
}

/** The first name that is of no point, as in a recording of a newer agent; undefined if there is none. */
export function unknownPoint(points: Points): string | undefined {
  return points.find(({ point }) => !Object.hasOwn(POINTS, point))?.point;
}

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
export function parseAs<const S extends Schema>(schema: S, text: string): Value<S> {
  let value: unknown;
  try {
    value = JSON.parse(text, (_, part) => (typeof part === 'string' ? plain(part) : part));
  } catch (error) {
    throw new Error(plain(messageOf(error)));
  }
  const [fault] = faults(schema, value);
  if (!fault) return value as Value<S>;
  throw new Error(plain(`${fault.path.join('.')} ${fault.message}`.trim()));
}

const { cpuCounters: _, cpuCountersSize: __, ...recorded } = WIRE;
/** What the header says of the records that this agent writes; per-CPU counters are not recorded. */
export const RECORDED_WIRE = recorded as Header['wire'];

/** Why this agent cannot read records of that format, or undefined. */
export function unreadable(wire: Header['wire']): string | undefined {
  const difference = failureToRead(WIRE, wire);
  return difference && plain(difference);
}
