/**
 * A window on one record of the wire format, read in place.
 *
 * The same cursor is moved from record to record, so reading an event allocates
 * nothing. 64-bit fields come as two 32-bit words where they are keys, and as
 * numbers where they are times.
 */
import { GUID_ORDER, textOf } from './text.ts';
import { EVENT, FLAG, NAMES, WIRE } from './wire.gen.ts';

export class EventCursor {
  readonly u32: Uint32Array;
  readonly #i32: Int32Array;
  readonly #u16: Uint16Array;
  readonly #u8: Uint8Array;
  /** Index of the record's first 32-bit word. */
  word = 0;

  /** @param start bytes into `buffer` where position 0 is, a multiple of 8 */
  constructor(buffer: ArrayBuffer, start = 0) {
    this.u32 = new Uint32Array(buffer, start);
    this.#i32 = new Int32Array(buffer, start);
    this.#u16 = new Uint16Array(buffer, start);
    this.#u8 = new Uint8Array(buffer, start);
  }

  /** @param position bytes from the start, a multiple of 8 */
  moveTo(position: number): void {
    this.word = position >>> 2;
  }

  /** ns on the boot-time clock. */
  get time(): number {
    return (
      this.u32[this.word + (EVENT.time >> 2)] +
      this.u32[this.word + (EVENT.time >> 2) + 1] * 2 ** 32
    );
  }

  get seq(): number {
    return this.u32[this.word + (EVENT.seq >> 2)];
  }

  get cpu(): number {
    return this.#u16[(this.word << 1) + (EVENT.cpu >> 1)];
  }

  /** A value of `POINT`. */
  get point(): number {
    return this.#u8[(this.word << 2) + EVENT.point];
  }

  get flags(): number {
    return this.#u8[(this.word << 2) + EVENT.flags];
  }

  get isEnd(): boolean {
    return (this.flags & FLAG.EVENT_END) !== 0;
  }

  /** The calling process was exiting. */
  get isExiting(): boolean {
    return (this.flags & FLAG.EVENT_EXITING) !== 0;
  }

  get isNamed(): boolean {
    return (this.flags & FLAG.EVENT_NAMED) !== 0;
  }

  /** The name of the calling thread. */
  comm(): string {
    const start = (this.word << 2) + EVENT.comm;
    return textOf(this.#u8.subarray(start, start + COMM_SIZE));
  }

  /** The process (thread group). */
  get pid(): number {
    return this.u32[this.word + (EVENT.pid >> 2)];
  }

  get tid(): number {
    return this.u32[this.word + (EVENT.tid >> 2)];
  }

  /** What the function returned; only for an end. */
  get ret(): number {
    return this.#i32[this.word + (EVENT.ret >> 2)];
  }

  /** -1 when not sampled. */
  get openCount(): number {
    return this.#i32[this.word + (EVENT.open_count >> 2)];
  }

  /** -1 when not sampled. */
  get usersCount(): number {
    return this.#i32[this.word + (EVENT.users_count >> 2)];
  }

  /** IOMMU group number, -1 when there is none. */
  get groupId(): number {
    return this.#i32[this.word + (EVENT.group_id >> 2)];
  }

  /** The thread that made the VM, 0 when no VM is involved or not known yet. */
  get vmPid(): number {
    return this.#i32[this.word + (EVENT.vm_pid >> 2)];
  }

  get cgroup(): number {
    return (
      this.u32[this.word + (EVENT.cgroup >> 2)] +
      this.u32[this.word + (EVENT.cgroup >> 2) + 1] * 2 ** 32
    );
  }

  /** Whether the key at `field` (a byte offset in EVENT) names an object. */
  has(field: number): boolean {
    const at = this.word + (field >> 2);
    return (this.u32[at] | this.u32[at + 1]) !== 0;
  }

  /** Bytes of a name field (an offset in NAMES); only when {@link isNamed}. */
  name(field: Exclude<keyof typeof NAMES, 'uuid'>): string {
    const start = (this.word << 2) + NAMES[field];
    return textOf(this.#u8.subarray(start, start + NAME_SIZES[field]));
  }

  /** The uuid of a create as text (guid_t is stored in mixed order, see lib/uuid.c). */
  uuid(): string {
    const start = (this.word << 2) + NAMES.uuid;
    let text = '';
    for (const [i, from] of GUID_ORDER.entries()) {
      if (i === 4 || i === 6 || i === 8 || i === 10) text += '-';
      text += this.#u8[start + from].toString(16).padStart(2, '0');
    }
    return text;
  }
}

const COMM_SIZE = WIRE.event.find(({ name }) => name === 'comm')?.size ?? 0;
const NAME_SIZES = Object.fromEntries(WIRE.names.map(({ name, size }) => [name, size])) as Record<
  keyof typeof NAMES,
  number
>;
