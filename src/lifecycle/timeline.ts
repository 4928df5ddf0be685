/**
 * The events of one object in order, from which the evidence of violations is made.
 *
 * Entries are rows of numbers copied from the records, so adding one allocates nothing except for an
 * occasional block of rows. A full timeline keeps its first and its latest events, and drops those in
 * between.
 */
import type { EventCursor } from '../events/cursor.ts';
import { textOf } from '../events/text.ts';
import { EVENT } from '../events/wire.gen.ts';

/**
 * A row is a copy of the start of a record, up to users_count, with the VM in place of the sequence number.
 */
const WORDS = (EVENT.users_count >> 2) + 1;
const VM = EVENT.seq >> 2;
const POINT_WORD = EVENT.point >> 2;
const PID = EVENT.pid >> 2;
const TID = EVENT.tid >> 2;
const COMM = EVENT.comm >> 2;
const RET = EVENT.ret >> 2;
const OPEN_COUNT = EVENT.open_count >> 2;
const USERS_COUNT = EVENT.users_count >> 2;

/** Rows are allocated in blocks of so many. */
const BLOCK = 16;
/** Behind its rows, a block has the place of the next block of its timeline, or of the next free block. */
const LINK = BLOCK * WORDS;
const BLOCK_WORDS = LINK + 1;
const CAPACITY = 64;
/** The number of first entries that are never overwritten. */
const KEPT = 16;

/**
 * The blocks of all timelines, in one array that grows and never shrinks: as arrays of their own they
 * made whole lifecycles a fifth slower. What was never written to takes no memory. Nothing but release() gives
 * blocks back: whoever drops an object has to call it.
 */
let blocks = new Int32Array(1024 * BLOCK_WORDS);
/** Where the blocks begin that were never in use. */
let unused = 0;
/** Where the first free block begins, -1 if there is none. */
let free = -1;

/** @returns where the block begins in {@link blocks} */
function takeBlock(): number {
  if (free >= 0) {
    const block = free;
    free = blocks[block + LINK];
    return block;
  }
  if (unused === blocks.length) {
    const larger = new Int32Array(blocks.length * 2);
    larger.set(blocks);
    blocks = larger;
  }
  unused += BLOCK_WORDS;
  return unused - BLOCK_WORDS;
}

/** One event of a timeline, as evidence, API and logs show it. */
export interface TimelineEntry {
  /** ns on the boot-time clock. */
  readonly time: number;
  /** A value of `POINT`. */
  readonly point: number;
  /** Bits of `FLAG`. */
  readonly flags: number;
  readonly pid: number;
  readonly tid: number;
  readonly comm: string;
  readonly ret: number;
  /** vfio_device open_count, -1 when not sampled. */
  readonly openCount: number;
  /** KVM users_count, -1 when not sampled. */
  readonly usersCount: number;
  /** Serial number of the VM involved, 0 when none. */
  readonly vm: number;
}

export class Timeline {
  /** The number of events that were dropped between the first and the latest ones. */
  omitted = 0;
  #count = 0;
  /** Where its first and its last block begin in {@link blocks}. */
  #first = -1;
  #last = -1;

  /** @param vm serial number of the VM involved, 0 when none */
  add(event: EventCursor, vm: number): void {
    const at = this.#nextRow();
    const { words, word } = event;
    for (let i = 0; i < WORDS; i++) blocks[at + i] = words[word + i];
    blocks[at + VM] = vm;
  }

  /** The time of the latest event, ns on the boot-time clock; 0 if there is none. */
  lastTime(): number {
    return this.#count === 0 ? 0 : this.#read(this.#rowOf(this.#count - 1)).time;
  }

  /** Oldest first. */
  entries(): TimelineEntry[] {
    const entries: TimelineEntry[] = [];
    const held = Math.min(this.#count, CAPACITY);
    for (let i = 0; i < held; i++) {
      entries.push(
        this.#read(i < KEPT ? i : KEPT + ((i - KEPT + this.omitted) % (CAPACITY - KEPT))),
      );
    }
    return entries;
  }

  /** Drops all entries and leaves their blocks to other timelines. */
  release(): void {
    if (this.#count === 0) return;
    blocks[this.#last + LINK] = free;
    free = this.#first;
    this.#count = 0;
  }

  /** @returns where the row of the next event begins */
  #nextRow(): number {
    const index = this.#count++;
    if (index >= CAPACITY) {
      this.omitted++;
      return this.#start(this.#rowOf(index));
    }
    const row = index & (BLOCK - 1);
    if (row === 0) {
      const block = takeBlock();
      if (index === 0) this.#first = block;
      else blocks[this.#last + LINK] = block;
      this.#last = block;
    }
    return this.#last + row * WORDS;
  }

  /** Where a row begins. */
  #start(row: number): number {
    let block = this.#first;
    for (let before = (row / BLOCK) | 0; before > 0; before--) block = blocks[block + LINK];
    return block + (row & (BLOCK - 1)) * WORDS;
  }

  /** The row of the event with that index among all that were ever added, as long as it is kept. */
  #rowOf(index: number): number {
    return index < CAPACITY ? index : KEPT + ((index - KEPT) % (CAPACITY - KEPT));
  }

  #read(row: number): TimelineEntry {
    const words = blocks;
    const at = this.#start(row);
    const point = words[at + POINT_WORD];
    return {
      time: (words[at] >>> 0) + words[at + 1] * 2 ** 32,
      point: (point >>> 16) & 0xff,
      flags: point >>> 24,
      pid: words[at + PID],
      tid: words[at + TID],
      comm: textOf(words, at + COMM, 4),
      ret: words[at + RET],
      openCount: words[at + OPEN_COUNT],
      usersCount: words[at + USERS_COUNT],
      vm: words[at + VM],
    };
  }
}
