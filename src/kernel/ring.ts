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

const HEADER = 8;
const BUSY = 1 << 31;
const DISCARDED = 1 << 30;

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
  /** The consumer position as a number, and once more as the bits of a double. */
  #position = 0;
  readonly #positionWords = new Uint32Array(2);
  readonly #positionBits = new Float64Array(this.#positionWords.buffer);

  /**
   * @param fd the ring buffer map
   * @param size bytes of its data area, a power of two
   */
  constructor(fd: number, size: number) {
    this.#consumer = new Mapping('the ring buffer', fd, 0, PAGE_SIZE, true);
    this.#producer = new Mapping('the ring buffer', fd, PAGE_SIZE, PAGE_SIZE + 2 * size, false);
    this.#consumerWord = new Float64Array(this.#consumer.buffer, 0, 1);
    this.#producerWords = new Int32Array(this.#producer.buffer, 0, 2);
    this.#headers = new Int32Array(this.#producer.buffer, PAGE_SIZE);
    this.#mask = size - 1;
    this.#cursor = new EventCursor(this.#producer.buffer, PAGE_SIZE);
    const words = new Uint32Array(this.#consumer.buffer, 0, 2);
    this.#position = words[0] + words[1] * 2 ** 32;
  }

  /** Bytes written and not yet read. */
  get backlog(): number {
    return (Atomics.load(this.#producerWords, 0) - (this.#position | 0)) >>> 0;
  }

  /**
   * Hands up to `budget` records to `receive`, in the order in which room was
   * reserved for them. The cursor is valid only during the call.
   * @returns how many it handed over; fewer than `budget` means the ring is empty
   */
  drain(budget: number, receive: (event: EventCursor) => void): number {
    const headers = this.#headers;
    const mask = this.#mask;
    const cursor = this.#cursor;
    let position = this.#position;
    let count = 0;
    // Positions differ by less than the ring's size, so their low words suffice to compare them.
    const produced = Atomics.load(this.#producerWords, 0);
    while (count < budget && (position | 0) !== produced) {
      const at = position & mask;
      const header = Atomics.load(headers, at >> 2);
      if (header & BUSY) break;
      const length = header & ~(BUSY | DISCARDED);
      if (!(header & DISCARDED)) {
        if (length >= WIRE.eventSize) {
          cursor.moveTo(at + HEADER);
          receive(cursor);
        } else {
          this.malformed++;
        }
        count++;
      }
      position += (length + HEADER + 7) & ~7;
    }
    if (position !== this.#position) this.#release(position);
    return count;
  }

  /**
   * The kernel reads the consumer position as one 64-bit word, so it must be
   * written as one: two 32-bit halves would be wrong in between, at every 4 GiB.
   * A double with the same bits does that without a BigInt.
   */
  #release(position: number): void {
    this.#position = position;
    this.#positionWords[0] = position;
    this.#positionWords[1] = position / 2 ** 32;
    this.#consumerWord[0] = this.#positionBits[0];
  }

  close(): void {
    this.#consumer.unmap();
    this.#producer.unmap();
  }
}
