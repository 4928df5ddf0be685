/**
 * Writes log lines to a descriptor without ever blocking the event loop, and without ever giving up: where the
 * disk is full or nobody reads, lines are dropped and counted, and the next line is tried again. One write
 * is in flight at a time, so lines keep their order.
 */
import { write } from 'node:fs';

/** Bytes that wait for a slow reader; lines beyond that are dropped. */
const MAX_BUFFERED = 4 << 20;
/** Bytes of them that are kept free for important lines. */
const RESERVED = 1 << 20;
/** Bytes of one write. */
const MAX_WRITE = 64 << 10;
/** ms until a write is tried again that a descriptor which does not block has refused. */
const RETRY_MS = 50;
const NEWLINE = 0x0a;

type Write = (
  fd: number,
  bytes: Buffer,
  done: (error: Error | null, written: number) => void,
) => void;

const writeBytes: Write = (fd, bytes, done) => write(fd, bytes, 0, bytes.length, null, done);

export class LogOutput {
  readonly #fd: number;
  readonly #write: Write;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #dropped = 0;
  #isWriting = false;
  /** Whether the last byte that was written is in the middle of a line. */
  #isLineOpen = false;
  readonly #idle: (() => void)[] = [];

  constructor(fd: number, write: Write = writeBytes) {
    this.#fd = fd;
    this.#write = write;
  }

  /** Lines that were not written, or not to their end. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * @param line with its line break
   * @param isImportant whether other lines are dropped before it, where all cannot be written
   */
  write(line: string, isImportant = false): void {
    const bytes = Buffer.from(line);
    const most = isImportant ? MAX_BUFFERED : MAX_BUFFERED - RESERVED;
    if (this.#waitingBytes + bytes.length > most) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (!this.#isWriting) this.#next();
  }

  /**
   * Waits until all lines have been written or dropped.
   * @returns false when some are still unwritten after that time, as where the reader has stopped to read
   */
  flush(limitMs: number): Promise<boolean> {
    if (!this.#isWriting) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), limitMs);
      this.#idle.push(() => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }

  #next(): void {
    const lines = this.#take();
    this.#isWriting = lines.length > 0;
    if (this.#isWriting) this.#attempt(new Batch(lines, this.#isLineOpen), 0);
    else for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** As many lines as one write takes, at least one if there is any. */
  #take(): Buffer[] {
    let count = 0;
    let bytes = 0;
    for (const { length } of this.#waiting) {
      bytes += length;
      if (count > 0 && bytes > MAX_WRITE) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  #attempt(batch: Batch, from: number): void {
    this.#write(this.#fd, batch.bytes.subarray(from), (error, written) => {
      const end = error ? from : from + written;
      if (error && 'code' in error && error.code === 'EAGAIN') {
        setTimeout(() => this.#attempt(batch, from), RETRY_MS);
      } else if (!error && end < batch.bytes.length) {
        this.#attempt(batch, end);
      } else {
        this.#dropped += batch.linesAfter(end);
        if (end > 0) this.#isLineOpen = batch.bytes[end - 1] !== NEWLINE;
        this.#waitingBytes -= batch.size;
        this.#next();
      }
    });
  }
}

/** Lines that are written together. */
class Batch {
  readonly bytes: Buffer;
  /** Bytes of the lines alone. */
  readonly size: number;
  readonly #ends: readonly number[];

  /** @param endsLine whether a line break comes first, behind a line that was cut off */
  constructor(lines: readonly Buffer[], endsLine: boolean) {
    let at = endsLine ? 1 : 0;
    this.bytes = Buffer.concat(endsLine ? [Buffer.of(NEWLINE), ...lines] : lines);
    this.size = this.bytes.length - at;
    this.#ends = lines.map((line) => {
      at += line.length;
      return at;
    });
  }

  /** Lines of which the last byte is behind that offset. */
  linesAfter(offset: number): number {
    return this.#ends.filter((end) => end > offset).length;
  }
}
