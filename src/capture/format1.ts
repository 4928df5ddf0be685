/**
 * Reads recordings of format 1, which vfioscope 0.1.0 made: translates their header and
 * their records, of wire version 3, into those of format 2 and wire version 4. The numbers
 * here are those of these versions and never change.
 */
import { EventCursor } from '../events/cursor.ts';
import type { Value } from '../schema.ts';
import {
  Count,
  Fields,
  HEADER_BASE,
  type Header,
  list,
  Numbers,
  type Points,
  parseAs,
  record,
  STATUS_BASE,
  Text,
} from './format.ts';

const PointsSchema1 = list(
  record({
    ...STATUS_BASE,
    meaning: Text,
    state: { enum: ['attached', 'implied', 'waiting', 'failed'] },
  }),
);
const HeaderSchema1 = record({
  ...HEADER_BASE,
  points: PointsSchema1,
  wire: record({
    ...{ version: Count, eventSize: Count, namedSize: Count },
    ...{ event: Fields, names: Fields, points: Numbers, flags: Numbers },
  }),
});
type Wire1 = Value<typeof HeaderSchema1>['wire'];

/** @throws {Error} in plain words, when it is no header of format 1 */
export function parseHeader1(json: string): Header {
  const { points, wire, ...rest } = parseAs(HeaderSchema1, json);
  return { ...rest, points: translatePoints(points), wire: translateWire(wire) };
}

/** @throws {Error} in plain words, when they are no points of format 1 */
export function parsePoints1(json: string): Points {
  return translatePoints(parseAs(PointsSchema1, json));
}

function translatePoints(points: Value<typeof PointsSchema1>): Points {
  return points.map(({ meaning, state, ...rest }) => ({
    ...rest,
    description: meaning,
    state: state === 'implied' ? 'inferred' : state,
  }));
}

/** What version 4 says of the same records, once they are translated: only their names grew. */
function translateWire(wire: Wire1): Header['wire'] {
  const { names, points, flags } = wire;
  const { POINT_COUNT: _, ...counted } = points;
  return {
    version: wire.version === 3 ? 4 : wire.version,
    eventSize: wire.eventSize,
    namedSize: wire.namedSize + 16,
    pointLimit: 256,
    event: wire.event,
    names: [
      ...names,
      { name: 'inode', offset: 304, size: 8, signed: false },
      { name: 'fd', offset: 312, size: 4, signed: true },
      { name: 'covered', offset: 316, size: 2, signed: false },
      { name: 'device_state', offset: 318, size: 2, signed: false },
    ],
    points: renamed(counted),
    flags: renamed(flags),
    coverage: {},
    deviceStates: {},
  };
}

/** Constants that have another name in version 4, with the same number. */
function renamed(constants: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(constants).map(([name, value]) => [
      name.replace('SEEN_SNAPSHOT', 'SNAPSHOT_RUN').replace('SEEN', 'SNAPSHOT'),
      value,
    ]),
  );
}

/** Bytes of a record of wire version 3. */
export const RECORD1 = { event: 112, named: 304 } as const;

/** Indices of 32-bit words: of both versions, then those that version 4 added. */
const WORD = { point: 3, ret: 10, file: 22, inode: 76, fd: 78, states: 79, end: 80 } as const;
const EVENT_WORDS = RECORD1.event / 4;
const NAMED_WORDS = RECORD1.named / 4;
const END = 1 << 24;
const NAMED = 4 << 24;
const POINT = {
  ...{ probe: 4, release: 8 },
  ...{ snapshot: 56, snapshotDevice: 58, snapshotOpen: 59, snapshotVmEntry: 63 },
} as const;

export class Translation1 {
  readonly #words = new Int32Array(WORD.end);
  readonly #cursor = new EventCursor(this.#words.buffer);

  /**
   * The record as version 4 has it.
   * @param from the words that hold it @param at the index of its first
   * @returns a cursor that is valid until the next call
   */
  translate(from: Int32Array, at: number): EventCursor {
    const to = this.#words;
    const isNamed = (from[at + WORD.point] & NAMED) !== 0;
    const length = isNamed ? NAMED_WORDS : EVENT_WORDS;
    for (let i = 0; i < length; i++) to[i] = from[at + i];
    to.fill(0, length);
    to[WORD.fd] = -1;
    const point = (to[WORD.point] >>> 16) & 0xff;
    if (point >= POINT.snapshot) this.#splitRet(point);
    const hasInode = point >= POINT.probe && point <= POINT.release;
    if (hasInode || point === POINT.snapshotDevice) this.#moveInode();
    return this.#cursor;
  }

  /** In a snapshot `ret` was a descriptor, or bits. */
  #splitRet(point: number): void {
    const to = this.#words;
    const ret = to[WORD.ret];
    to[WORD.ret] = 0;
    if (point === POINT.snapshot && (to[WORD.point] & END) !== 0) to[WORD.states] = ret & 0xffff;
    else if (point === POINT.snapshotDevice) to[WORD.states] = ret << 16;
    else if (point >= POINT.snapshotOpen && point <= POINT.snapshotVmEntry) to[WORD.fd] = ret;
    else return;
    to[WORD.point] |= NAMED;
  }

  /** `file` was the inode number where an mdev is named, and also at the end of such calls. */
  #moveInode(): void {
    const to = this.#words;
    to[WORD.inode] = to[WORD.file];
    to[WORD.inode + 1] = to[WORD.file + 1];
    to[WORD.file] = 0;
    to[WORD.file + 1] = 0;
  }
}
