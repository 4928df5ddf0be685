/** Writes a recording's file: its header, block after block, the end mark. */

import {
  closeSync,
  fchmodSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { constants, crc32, zstdCompressSync } from 'node:zlib';
import { codeOf } from '../errors.ts';
import { UserProblem } from '../problem.ts';
import {
  BLOCK,
  BLOCK_MAGIC,
  blockCrc,
  END_MAGIC,
  FORMAT,
  type Header,
  MAGIC,
  MAX_PACKED,
  PRELUDE,
  WINDOW_LOG,
} from './format.ts';

/** Records are much alike, so more effort than the least saves little. */
const ZSTD = {
  params: {
    [constants.ZSTD_c_compressionLevel]: 1,
    [constants.ZSTD_c_windowLog]: WINDOW_LOG,
  },
};

const MODE = 0o600;

export interface WriterOptions {
  readonly path: string;
  readonly header: Header;
  /** Whether a file that is there may be replaced. */
  readonly overwrite: boolean;
}

export class RecordingWriter {
  readonly path: string;
  /** Why nothing more is written; the file is readable up to here. */
  problem: UserProblem | undefined;
  /** Of whole blocks, header included. */
  bytes = 0;
  #fd: number;
  readonly #out = Buffer.alloc(BLOCK.size + MAX_PACKED);
  #blocks = 0;

  /** @throws {UserProblem} when the file cannot be made */
  constructor({ path, header, overwrite }: WriterOptions) {
    this.path = path;
    this.#fd = create(path, overwrite);
    this.#write(opening(header));
    if (this.problem) {
      // An empty file would only prevent the next attempt.
      if (fstatSync(this.#fd).isFile()) rmSync(path, { force: true });
      closeSync(this.#fd);
      throw this.problem;
    }
  }

  /**
   * Appends a block in one write.
   * @param raw items, at most MAX_RAW bytes; may be empty, when only time has passed
   * @param until ns on the boot-time clock: everything before is in this block or an earlier one
   */
  block(raw: Uint8Array, until: number): void {
    if (this.problem) return;
    const packed = raw.length > 0 ? zstdCompressSync(raw, ZSTD) : raw;
    this.#out.set(packed, BLOCK.size);
    this.#append(BLOCK_MAGIC, packed.length, raw.length, until);
  }

  /** Marks that the recording was meant to end here, and closes it. Nothing can be written after. */
  end(until: number): void {
    this.#append(END_MAGIC, 0, 0, until);
    if (!this.problem) this.#attempt(() => sync(this.#fd));
    closeSync(this.#fd);
    this.#fd = -1;
  }

  #append(magic: number, packed: number, raw: number, until: number): void {
    const out = this.#out;
    out.writeUInt32LE(magic, BLOCK.magic);
    out.writeUInt32LE(packed, BLOCK.packed);
    out.writeUInt32LE(raw, BLOCK.raw);
    out.writeUInt32LE(this.#blocks++, BLOCK.number);
    out.writeDoubleLE(until, BLOCK.until);
    out.writeUInt32LE(blockCrc(out, packed), BLOCK.crc);
    this.#write(out.subarray(0, BLOCK.size + packed));
  }

  /** Never throws: an agent that records continues to watch. */
  #write(bytes: Buffer): void {
    if (this.problem) return;
    this.#attempt(() => {
      // One write, unless the kernel takes only a part, as before a disk is full.
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
      this.bytes += bytes.length;
    });
  }

  #attempt(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.problem = new UserProblem(
        'recording.write-failed',
        `cannot write ${this.path}: ${reason(error)}; the recording stopped after ${this.bytes} bytes`,
        'make room, or record to another disk; what was written before can be replayed',
        { cause: error },
      );
      cutTo(this.#fd, this.bytes);
    }
  }
}

function create(path: string, overwrite: boolean): number {
  try {
    // Names of processes and devices are nobody else's business, also where a file is replaced.
    const fd = openSync(path, overwrite ? 'w' : 'wx', MODE);
    if (overwrite && fstatSync(fd).isFile()) fchmodSync(fd, MODE);
    return fd;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') {
      throw new UserProblem(
        'recording.exists',
        `${path} is there already`,
        'give another name, or --force to replace it',
        { cause: error },
      );
    }
    throw new UserProblem(
      'recording.cannot-create',
      `cannot write ${path}: ${reason(error)}`,
      'give a file in a directory that exists and that you may write to',
      { cause: error },
    );
  }
}

function opening(header: Header): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const prelude = Buffer.alloc(PRELUDE.size);
  MAGIC.copy(prelude);
  prelude.writeUInt32LE(FORMAT, PRELUDE.format);
  prelude.writeUInt32LE(json.length, PRELUDE.length);
  prelude.writeUInt32LE(crc32(json), PRELUDE.crc);
  return Buffer.concat([prelude, json]);
}

/** A network file system may report only now that it is full. */
function sync(fd: number): void {
  if (fstatSync(fd).isFile()) fsyncSync(fd);
}

/** Removes half a block; if that fails, a reader reports that the file ends in the middle of one. */
function cutTo(fd: number, bytes: number): void {
  try {
    ftruncateSync(fd, bytes);
  } catch {}
}

function reason(error: unknown): string {
  const code = codeOf(error);
  return code === 'ENOSPC' ? 'ENOSPC (no space left)' : code;
}
