/**
 * What happened to one object, in order: the raw material of evidence.
 *
 * Entries are rows of numbers copied out of the record, so that adding one
 * allocates nothing but the occasional larger array. When a long life fills the
 * timeline, its beginning and its latest events stay and the middle is dropped.
 */
import type { EventCursor } from '../events/cursor.ts';
import { textOf } from '../events/text.ts';
import { EVENT } from '../events/wire.gen.ts';

const WORDS = 14;
const FIRST_CAPACITY = 16;
const CAPACITY = 64;
/** The entries of a life's beginning that are never overwritten. */
const KEPT = 16;

/** Where each value sits in a row, in 32-bit words; the time takes two. */
const ROW = {
  time: 0,
  point: 2,
  flags: 3,
  pid: 4,
  tid: 5,
  ret: 6,
  open: 7,
  users: 8,
  vm: 9,
  comm: 10,
};

/** One event as it is shown to people. */
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
  /** Events of the middle that had to make room. */
  omitted = 0;
  #count = 0;
  #buffer = new ArrayBuffer(FIRST_CAPACITY * WORDS * 4);
  #words = new Int32Array(this.#buffer);
  #times = new Float64Array(this.#buffer);

  /** @param vm serial number of the VM involved, 0 when none */
  add(event: EventCursor, vm: number): void {
    const row = this.#nextRow() * WORDS;
    const words = this.#words;
    this.#times[row >> 1] = event.time;
    words[row + ROW.point] = event.point;
    words[row + ROW.flags] = event.flags;
    words[row + ROW.pid] = event.pid;
    words[row + ROW.tid] = event.tid;
    words[row + ROW.ret] = event.ret;
    words[row + ROW.open] = event.openCount;
    words[row + ROW.users] = event.usersCount;
    words[row + ROW.vm] = vm;
    const comm = event.word + (EVENT.comm >> 2);
    for (let i = 0; i < 4; i++) words[row + ROW.comm + i] = event.u32[comm + i];
  }

  /** Oldest first. */
  entries(): TimelineEntry[] {
    const entries: TimelineEntry[] = [];
    const held = Math.min(this.#count, CAPACITY);
    for (let i = 0; i < held; i++) {
      const row = i < KEPT ? i : KEPT + ((i - KEPT + this.omitted) % (CAPACITY - KEPT));
      entries.push(this.#read(row * WORDS));
    }
    return entries;
  }

  #nextRow(): number {
    const index = this.#count++;
    if (index >= CAPACITY) {
      const row = KEPT + (this.omitted % (CAPACITY - KEPT));
      this.omitted++;
      return row;
    }
    if (index * WORDS * 4 === this.#buffer.byteLength) {
      const larger = new ArrayBuffer(this.#buffer.byteLength * 2);
      new Int32Array(larger).set(this.#words);
      this.#buffer = larger;
      this.#words = new Int32Array(larger);
      this.#times = new Float64Array(larger);
    }
    return index;
  }

  #read(row: number): TimelineEntry {
    const words = this.#words;
    return {
      time: this.#times[row >> 1],
      point: words[row + ROW.point],
      flags: words[row + ROW.flags],
      pid: words[row + ROW.pid],
      tid: words[row + ROW.tid],
      comm: textOf(new Uint8Array(this.#buffer, (row + ROW.comm) * 4, 16)),
      ret: words[row + ROW.ret],
      openCount: words[row + ROW.open],
      usersCount: words[row + ROW.users],
      vm: words[row + ROW.vm],
    };
  }
}
