/**
 * Reads the BPF ring buffer in place: its pages are mapped once, record headers
 * and fields are read through typed arrays, and one store returns the room.
 *
 * Layout (kernel/bpf/ringbuf.c): one page with the consumer position, one page
 * with the producer position, then the data twice in a row, so that a record
 * that wraps is still contiguous. A record is an 8 byte header (length with two
 * flag bits, page offset) and its data, padded to 8 bytes.
 */
import { EventCursor } from '../events/cursor.ts';
import { WIRE } from '../events/wire.gen.ts';
import { Mapping, PAGE_SIZE } from './os.ts';
import type { Journal } from './pins-progress.ts';

const HEADER = 8;
const DISCARDED = 1 << 30;
const LENGTH = DISCARDED - 1;

/**
 * Records after which their room is given back. Small, so that the writers get it
 * soon; and so that the loop is compiled as a function that has returned before,
 * not in the middle of its first run, which V8 (13.6) then leaves and enters again
 * at each call, at twice the cost of a record.
 */
const CHUNK = 256;
/** The same where a journal is kept, which takes longer for a record. */
const KEPT_CHUNK = 64;

/**
 * Where loads happen in program order, a record is whole once its header has
 * been seen without the busy bit. Elsewhere the header must be loaded with
 * acquire semantics, which costs several ns a record.
 */
const STRONGLY_ORDERED = process.arch === 'x64';

export class RingReader {
  /** Records too short for an event; they are skipped and counted. */
  malformed = 0;

  readonly #consumer: Mapping;
  readonly #producer: Mapping;
  readonly #consumerWord: Float64Array;
  readonly #producerWords: Int32Array;
  readonly #headers: Int32Array;
  readonly #mask: number;
  readonly #cursor: EventCursor;
  /** The consumer position as a number, and also as the bits of a double. */
  #position = 0;
  readonly #positionWords = new Uint32Array(2);
  readonly #positionBits = new Float64Array(this.#positionWords.buffer);
  readonly #journal: Journal | undefined;

  /**
   * @param fd the ring buffer map
   * @param size bytes of its data area, a power of two
   * @param journal knows how far the ring was read, and is updated; otherwise the kernel's position is used
   */
  constructor(fd: number, size: number, journal?: Journal) {
    this.#consumer = new Mapping('the ring buffer', fd, 0, PAGE_SIZE, true);
    this.#producer = new Mapping('the ring buffer', fd, PAGE_SIZE, PAGE_SIZE + 2 * size, false);
    this.#consumerWord = new Float64Array(this.#consumer.buffer, 0, 1);
    this.#producerWords = new Int32Array(this.#producer.buffer, 0, 2);
    this.#headers = new Int32Array(this.#producer.buffer, PAGE_SIZE);
    this.#mask = size - 1;
    this.#cursor = new EventCursor(this.#producer.buffer, PAGE_SIZE);
    const words = new Uint32Array(this.#consumer.buffer, 0, 2);
    this.#position = words[0] + words[1] * 2 ** 32;
    this.#journal = journal;
    if (journal) this.#release(journal.position - this.#position);
  }

  /** Bytes written and not yet read. */
  get backlog(): number {
    // Positions differ by less than the ring's size, so their low words suffice.
    return (Atomics.load(this.#producerWords, 0) - (this.#position | 0)) >>> 0;
  }

  /**
   * Hands up to `budget` records to `receive`, in the order in which room was
   * reserved for them. The cursor is valid only during the call.
   * @returns how many it handed over; fewer than `budget` means the ring is empty
   */
  drain(budget: number, receive: (event: EventCursor) => void): number {
    const journal = this.#journal;
    const chunk = journal ? KEPT_CHUNK : CHUNK;
    let total = 0;
    while (total < budget) {
      const wanted = Math.min(chunk, budget - total);
      const count = journal
        ? this.#drainKept(wanted, receive, journal)
        : this.#drainChunk(wanted, receive);
      total += count;
      if (count < wanted) break;
    }
    return total;
  }

  #drainChunk(budget: number, receive: (event: EventCursor) => void): number {
    const headers = this.#headers;
    // V8 compiles unsigned numbers as doubles: the | 0 keep the loop in integers, twice as fast.
    const mask = this.#mask | 0;
    const cursor = this.#cursor;
    const smallest = WIRE.eventSize | 0;
    let unread = this.backlog | 0;
    let at = (this.#position | 0) & mask;
    let consumed = 0;
    let count = 0;
    while (count < budget && unread > 0) {
      const header = STRONGLY_ORDERED ? headers[at >> 2] : Atomics.load(headers, at >> 2);
      if (header < 0) break; // the busy bit is the sign
      const length = header & LENGTH;
      if (header & DISCARDED) {
        // Nothing was written; it only takes up room.
      } else if (length < smallest) {
        this.malformed++;
      } else {
        cursor.moveTo(at + HEADER);
        receive(cursor);
        count++;
      }
      const taken = (length + HEADER + 7) & ~7;
      consumed = (consumed + taken) | 0;
      unread = (unread - taken) | 0;
      at = (at + taken) & mask;
    }
    if (consumed > 0) this.#release(consumed);
    return count;
  }

  /** As above, but the journal knows of each record before the next one is handed over. */
  #drainKept(budget: number, receive: (event: EventCursor) => void, journal: Journal): number {
    const headers = this.#headers;
    const mask = this.#mask | 0;
    const cursor = this.#cursor;
    const smallest = WIRE.eventSize | 0;
    let unread = this.backlog | 0;
    let at = (this.#position | 0) & mask;
    let consumed = 0;
    let count = 0;
    try {
      while (count < budget && unread > 0) {
        const header = STRONGLY_ORDERED ? headers[at >> 2] : Atomics.load(headers, at >> 2);
        if (header < 0) break; // the busy bit is the sign
        const length = header & LENGTH;
        const taken = (length + HEADER + 7) & ~7;
        consumed = (consumed + taken) | 0;
        unread = (unread - taken) | 0;
        if (header & DISCARDED) {
          journal.skip(taken);
        } else if (length < smallest) {
          this.malformed++;
          journal.skip(taken);
        } else {
          cursor.moveTo(at + HEADER);
          try {
            receive(cursor);
          } finally {
            // What a listener fails at must not meet the next agent as well, and the one after.
            journal.take(cursor, taken);
          }
          count++;
        }
        at = (at + taken) & mask;
      }
    } finally {
      if (consumed > 0) this.#release(consumed);
    }
    return count;
  }

  /** Whole records that wait to be read, by their headers alone, whatever they hold. */
  unread(): number {
    let unread = this.backlog;
    let at = this.#position % (this.#mask + 1);
    let count = 0;
    while (unread > 0) {
      const header = Atomics.load(this.#headers, at >> 2);
      if (header < 0) break;
      if (!(header & DISCARDED)) count++;
      const taken = ((header & LENGTH) + HEADER + 7) & ~7;
      unread -= taken;
      at = (at + taken) & this.#mask;
    }
    return count;
  }

  /** Whether a position can be where a reader of this ring stopped. */
  static canBe(position: number, fd: number): boolean {
    const consumer = new Mapping('the ring buffer', fd, 0, PAGE_SIZE, true);
    const producer = new Mapping('the ring buffer', fd, PAGE_SIZE, PAGE_SIZE, false);
    const [from, to] = [consumer, producer].map(({ buffer }) => {
      const [low, high] = new Uint32Array(buffer, 0, 2);
      return low + high * 2 ** 32;
    });
    consumer.unmap();
    producer.unmap();
    return position >= from && position <= to;
  }

  /**
   * The kernel reads the consumer position as one 64-bit word, so it must be
   * written as one: two 32-bit halves would be wrong in between, at every 4 GiB.
   * A double with the same bits does that without a BigInt.
   */
  #release(bytes: number): void {
    // The room must not be seen as free before what was in it has been read.
    if (!STRONGLY_ORDERED) Atomics.add(this.#positionWords, 0, 0);
    this.#position += bytes;
    this.#positionWords[0] = this.#position;
    this.#positionWords[1] = this.#position / 2 ** 32;
    this.#consumerWord[0] = this.#positionBits[0];
  }

  close(): void {
    this.#consumer.unmap();
    this.#producer.unmap();
  }
}
