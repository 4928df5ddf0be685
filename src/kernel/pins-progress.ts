/**
 * How far a pinned ring has been read, in memory that outlives the reader, exact
 * whenever the reader is killed.
 *
 * What one record changes is written to the slot that is not in use, then one word
 * makes that slot the valid one, then the tables follow. A reader that is killed
 * before the word has not taken the record in; one that is killed behind it has,
 * and the next one writes the tables from the slot again, which changes
 * nothing where that had been done. A process is killed between two of its
 * instructions, so nothing is needed but that they are in this order.
 */
import type { EventCursor } from '../events/cursor.ts';
import { FLAG } from '../events/wire.gen.ts';

/** Two of every point, begin and end, for as many points as a record can name. */
const KINDS = 512;
/** A slot is a cache line: doubles, then words. */
const SLOT = {
  bytes: 64,
  position: 0,
  records: 1,
  lost: 2,
  count: 3,
  cpu: 8,
  next: 9,
  transition: 10,
};
const DOUBLES = SLOT.bytes / 8;
const WORDS = SLOT.bytes / 4;
const NONE = -1;

const SLOTS_AT = 64;
const COUNTS_AT = SLOTS_AT + 2 * SLOT.bytes;
const NEXT_AT = COUNTS_AT + KINDS * 8;

/** Bytes of it, for a number of CPUs: the word, the slots, counts by event kind, next by CPU. */
export function progressBytes(cpus: number): number {
  return NEXT_AT + cpus * 4;
}

/** Where a reader of a ring resumes, and what it commits for each record that it has passed on. */
export interface Journal {
  /** Bytes of the ring that are read, since the ring was made. */
  readonly position: number;
  /** @param bytes that the record took up */
  take(event: EventCursor, bytes: number): void;
  /** Bytes that were no event. */
  skip(bytes: number): void;
}

export class Progress implements Journal {
  readonly #valid: Int32Array;
  readonly #doubles: Float64Array;
  readonly #words: Int32Array;
  readonly #counts: Float64Array;
  readonly #next: Int32Array;
  /** 0 or 1, as the valid word says. */
  #slot: number;

  /** @param at where {@link progressBytes} begin, a multiple of 64; all 0 for a new ring */
  constructor(buffer: ArrayBuffer, at: number, cpus: number) {
    this.#valid = new Int32Array(buffer, at, 1);
    this.#doubles = new Float64Array(buffer, at + SLOTS_AT, 2 * DOUBLES);
    this.#words = new Int32Array(buffer, at + SLOTS_AT, 2 * WORDS);
    this.#counts = new Float64Array(buffer, at + COUNTS_AT, KINDS);
    this.#next = new Int32Array(buffer, at + NEXT_AT, cpus);
    this.#slot = this.#valid[0] & 1;
    // Of a new ring, that is 0 for what is 0.
    this.#follow();
  }

  get position(): number {
    return this.#doubles[this.#slot * DOUBLES + SLOT.position];
  }

  /** Records processed by all readers so far. */
  get records(): number {
    return this.#doubles[this.#slot * DOUBLES + SLOT.records];
  }

  /** Missing in the sequence, by all readers so far. */
  get lost(): number {
    return this.#doubles[this.#slot * DOUBLES + SLOT.lost];
  }

  /** Records processed, by twice the point, and one more for an end. */
  get counts(): Float64Array {
    return this.#counts;
  }

  /** The next sequence number of each CPU. */
  next(): number[] {
    return Array.from(this.#next, (next) => next >>> 0);
  }

  take(event: EventCursor, bytes: number): void {
    const doubles = this.#doubles;
    const words = this.#words;
    const from = this.#slot * DOUBLES;
    const other = 1 - this.#slot;
    const to = other * DOUBLES;
    const cpu = event.cpu;
    const seq = event.seq | 0;
    const transition = event.point * 2 + (event.flags & FLAG.EVENT_END);
    // Negative when records beyond this one were read already.
    const missing = cpu < this.#next.length ? (seq - this.#next[cpu]) | 0 : NONE;
    doubles[to + SLOT.position] = doubles[from + SLOT.position] + bytes;
    doubles[to + SLOT.records] = doubles[from + SLOT.records] + 1;
    doubles[to + SLOT.lost] = doubles[from + SLOT.lost] + (missing > 0 ? missing : 0);
    doubles[to + SLOT.count] = this.#counts[transition] + 1;
    words[other * WORDS + SLOT.cpu] = missing < 0 ? NONE : cpu;
    words[other * WORDS + SLOT.next] = (seq + 1) | 0;
    words[other * WORDS + SLOT.transition] = transition;
    this.#commit(other);
  }

  skip(bytes: number): void {
    this.#copy();
    this.#doubles[(1 - this.#slot) * DOUBLES + SLOT.position] += bytes;
    this.#commit(1 - this.#slot);
  }

  /**
   * Finds losses that no later record has shown yet.
   * @param attempts records that this CPU had tried to write when the ring was last seen empty
   */
  settle(cpu: number, attempts: number): void {
    const next = (attempts % 2 ** 32) | 0;
    const missing = (next - this.#next[cpu]) | 0;
    if (missing <= 0) return;
    this.#copy();
    const other = 1 - this.#slot;
    this.#doubles[other * DOUBLES + SLOT.lost] += missing;
    this.#words[other * WORDS + SLOT.cpu] = cpu;
    this.#words[other * WORDS + SLOT.next] = next;
    this.#commit(other);
  }

  /** The slot not in use becomes like the other, but changes nothing in the tables. */
  #copy(): void {
    const from = this.#slot * DOUBLES;
    const other = 1 - this.#slot;
    this.#doubles.copyWithin(other * DOUBLES, from, from + DOUBLES);
    this.#words[other * WORDS + SLOT.cpu] = NONE;
    this.#words[other * WORDS + SLOT.transition] = NONE;
  }

  #commit(slot: number): void {
    // Atomic not for other threads, but so that no compiler moves what stands around it.
    Atomics.store(this.#valid, 0, slot);
    this.#slot = slot;
    this.#follow();
  }

  #follow(): void {
    const words = this.#slot * WORDS;
    const cpu = this.#words[words + SLOT.cpu];
    const transition = this.#words[words + SLOT.transition];
    if (cpu !== NONE) this.#next[cpu] = this.#words[words + SLOT.next];
    if (transition !== NONE) {
      this.#counts[transition] = this.#doubles[this.#slot * DOUBLES + SLOT.count];
    }
  }
}
