/**
 * Reads a recording's file block by block, from its beginning to its end, and believes
 * nothing that it has not checked. It reads pipes, too, because it never seeks.
 */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { constants, crc32, zstdDecompressSync } from 'node:zlib';
import { codeOf, messageOf } from '../errors.ts';
import { UserProblem } from '../problem.ts';
import {
  BLOCK,
  BLOCK_MAGIC,
  blockCrc,
  END_MAGIC,
  FORMAT,
  type Header,
  MAGIC,
  MAX_HEADER,
  MAX_PACKED,
  MAX_RAW,
  MAX_TIME,
  OLDEST_FORMAT,
  PRELUDE,
  parseHeader,
  unknownPoint,
  unreadable,
  WINDOW_LOG,
} from './format.ts';
import { parseHeader1 } from './format1.ts';

const AGAIN = 'get the file again from where it was recorded';

/** What other files begin with, and how to get at a recording inside. */
const PACKINGS: readonly (readonly [string, string])[] = [
  ['1f8b', 'if a recording was packed with gzip, unpack it first: gunzip'],
  ['28b52ffd', 'if a recording was packed with zstd, unpack it first: unzstd'],
  ['fd377a58', 'if a recording was packed with xz, unpack it first: unxz'],
];

export interface Block {
  /** Items; valid until the next block is read. */
  readonly raw: Buffer;
  /** Bytes from the beginning of the file. */
  readonly offset: number;
  /** ns on the boot-time clock: everything before is in this block or an earlier one. */
  readonly until: number;
}

export class RecordingReader {
  readonly path: string;
  /** As the current format has it. */
  readonly header: Header;
  readonly #fd: number;
  readonly #in = Buffer.alloc(BLOCK.size + MAX_PACKED);
  /** Bytes read. */
  #offset = 0;
  #blocks = 0;
  #ended = false;
  #format = FORMAT;

  /** 1 for a recording of vfioscope 0.1.0, whose records and points have to be translated. */
  get format(): number {
    return this.#format;
  }

  /** @throws {UserProblem} when it is not a recording that this agent can read */
  constructor(path: string) {
    this.path = path;
    this.#fd = open(path);
    try {
      this.header = this.#readHeader();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * @returns undefined when the recorder had come to its end
   * @throws {UserProblem} when there is neither a whole block nor an end mark
   */
  next(): Block | undefined {
    const offset = this.#offset;
    const head = this.#read(BLOCK.size);
    if (this.#ended && head.length === 0) return undefined;
    if (this.#ended) throw this.damaged(offset, 'something follows after its end');
    if (head.length === 0) throw this.#unfinished(offset);
    if (head.length < BLOCK.size) throw this.#cut(offset);
    const magic = head.readUInt32LE(BLOCK.magic);
    const packed = head.readUInt32LE(BLOCK.packed);
    const raw = head.readUInt32LE(BLOCK.raw);
    const until = head.readDoubleLE(BLOCK.until);
    if (magic !== BLOCK_MAGIC && magic !== END_MAGIC) {
      throw this.damaged(offset, 'no block begins there');
    }
    if (packed > MAX_PACKED || raw > MAX_RAW) {
      throw this.damaged(offset, `a block of ${packed} bytes for ${raw} is not possible`);
    }
    if (this.#read(packed, BLOCK.size).length < packed) throw this.#cut(offset);
    if (head.readUInt32LE(BLOCK.crc) !== blockCrc(this.#in, packed)) {
      throw this.damaged(offset, 'the checksum of its block is wrong');
    }
    const number = head.readUInt32LE(BLOCK.number);
    if (number !== this.#blocks) {
      throw this.damaged(offset, `block ${number} follows where block ${this.#blocks} should`);
    }
    if (!(until >= 0 && until <= MAX_TIME)) throw this.damaged(offset, 'its block has no time');
    this.#blocks = (this.#blocks + 1) >>> 0;
    this.#ended = magic === END_MAGIC;
    return { raw: this.#unpack(offset, packed, raw), offset, until };
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** @param offset bytes from the beginning of the file @param what is wrong there */
  damaged(offset: number, what: string): UserProblem {
    return new UserProblem(
      'recording.damaged',
      `${this.path} is damaged at byte ${offset}: ${what}`,
      AGAIN,
    );
  }

  #unfinished(offset: number): UserProblem {
    return new UserProblem(
      'recording.no-end-mark',
      `${this.path} ends without an end mark at byte ${offset}: its recorder was killed, or still records`,
      'nothing, if that is known: up to there it is whole',
    );
  }

  #cut(offset: number): UserProblem {
    return new UserProblem(
      'recording.truncated',
      `${this.path} ends in the middle of a block at byte ${offset}`,
      `its disk was full, or the copy is not complete: ${AGAIN}`,
    );
  }

  #unpack(offset: number, packed: number, raw: number): Buffer {
    if (packed === 0 && raw === 0) return Buffer.alloc(0);
    const bytes = this.#in.subarray(BLOCK.size, BLOCK.size + packed);
    const params = { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG };
    try {
      const unpacked = zstdDecompressSync(bytes, { params, maxOutputLength: Math.max(raw, 1) });
      if (unpacked.length === raw) return unpacked;
    } catch {}
    throw this.damaged(offset, 'its block cannot be unpacked');
  }

  #readHeader(): Header {
    const { path } = this;
    const prelude = this.#read(PRELUDE.size);
    if (prelude.length === 0) {
      throw new UserProblem(
        'recording.empty',
        `${path} is empty`,
        'nothing was recorded: record again',
      );
    }
    const magic = prelude.subarray(0, MAGIC.length);
    if (!magic.equals(MAGIC.subarray(0, magic.length))) throw foreign(path, prelude);
    if (prelude.length < PRELUDE.size) throw this.#headerCut();
    const format = prelude.readUInt32LE(PRELUDE.format);
    if (format > FORMAT) {
      throw new UserProblem(
        'recording.incompatible',
        `${path} is a recording of format ${format}, and this agent reads formats ` +
          `${OLDEST_FORMAT} to ${FORMAT} (byte ${PRELUDE.format})`,
        'replay it with a vfioscope at least as new as the one that recorded it',
      );
    }
    if (format < OLDEST_FORMAT) {
      throw this.damaged(PRELUDE.format, `there never was a format ${format}`);
    }
    this.#format = format;
    const length = prelude.readUInt32LE(PRELUDE.length);
    const crc = prelude.readUInt32LE(PRELUDE.crc);
    if (length > MAX_HEADER) {
      throw this.damaged(PRELUDE.length, `a header of ${length} bytes is not possible`);
    }
    const json = this.#read(length);
    if (json.length < length) throw this.#headerCut();
    if (crc !== crc32(json)) throw this.damaged(PRELUDE.crc, 'the checksum of its header is wrong');
    return this.#parseHeader(json.toString());
  }

  #parseHeader(json: string): Header {
    let header: Header;
    try {
      header = this.#format === FORMAT ? parseHeader(json) : parseHeader1(json);
    } catch (error) {
      throw this.damaged(PRELUDE.size, `its header: ${messageOf(error)}`);
    }
    const unknown = unknownPoint(header.points);
    const difference =
      unreadable(header.wire) ??
      (unknown === undefined ? undefined : `it has no point named ${JSON.stringify(unknown)}`);
    if (difference === undefined) return header;
    throw new UserProblem(
      'recording.incompatible',
      `this agent cannot read the records of ${this.path} (byte ${PRELUDE.size}): ${difference}`,
      `replay it with vfioscope ${header.agent}, which recorded it`,
    );
  }

  #headerCut(): UserProblem {
    return new UserProblem(
      'recording.truncated',
      `${this.path} ends in the middle of its header at byte ${this.#offset}`,
      `nothing of it can be shown: ${AGAIN}`,
    );
  }

  /** @returns fewer bytes at the end of the file; valid until the next call that reads to `to` */
  #read(length: number, to = 0): Buffer {
    let have = 0;
    try {
      while (have < length) {
        const count = readSync(this.#fd, this.#in, to + have, length - have, null);
        if (count === 0) break;
        have += count;
      }
    } catch (error) {
      throw new UserProblem(
        'recording.unreadable',
        `cannot read ${this.path} at byte ${this.#offset + have}: ${codeOf(error)}`,
        'check the disk that it is on, or copy the file elsewhere',
        { cause: error },
      );
    }
    this.#offset += have;
    return this.#in.subarray(to, to + have);
  }
}

/** @throws {UserProblem} */
function open(path: string): number {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    throw new UserProblem(
      'recording.unreadable',
      `cannot read ${path}: ${codeOf(error)}`,
      'give the file that vfioscope record made',
      { cause: error },
    );
  }
  if (!fstatSync(fd).isDirectory()) return fd;
  closeSync(fd);
  throw new UserProblem(
    'recording.not-a-file',
    `${path} is a directory`,
    'give the file that vfioscope record made',
  );
}

function foreign(path: string, bytes: Buffer): UserProblem {
  const begin = bytes.subarray(0, 4).toString('hex');
  const packing = PACKINGS.find(([start]) => begin.startsWith(start));
  return new UserProblem(
    'recording.not-a-recording',
    `${path} is not a recording of vfioscope: at byte 0 it has ${begin}, not ` +
      `${MAGIC.subarray(0, 4).toString('hex')}`,
    packing?.[1] ?? 'give the file that vfioscope record made',
  );
}
