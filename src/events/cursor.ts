/**
 * A window on one record of the wire format, read in place.
 *
 * The same cursor is moved from record to record, so reading an event allocates
 * nothing. 64-bit fields come as two 32-bit words where they are keys, and as
 * numbers where they are times.
 */
import { guidOf, textOf } from './text.ts';
import { EVENT, EventFields, FLAG, NAMES, WIRE } from './wire.gen.ts';

export class EventCursor extends EventFields {
  /** @param position bytes from the start, a multiple of 8 */
  moveTo(position: number): void {
    this.word = position >>> 2;
  }

  get isEnd(): boolean {
    return (this.flags & FLAG.EVENT_END) !== 0;
  }

  /** The calling process was exiting. */
  get isExiting(): boolean {
    return (this.flags & FLAG.EVENT_EXITING) !== 0;
  }

  /** At an open: the opener's memory is not that of the VM. False where the kernel does not tell. */
  get isForeign(): boolean {
    return (this.flags & FLAG.EVENT_FOREIGN) !== 0;
  }

  /** When a device is withdrawn: its driver can ask its users to let go. */
  get asksUsers(): boolean {
    return (this.flags & FLAG.EVENT_ASKS) !== 0;
  }

  get isNamed(): boolean {
    return (this.flags & FLAG.EVENT_NAMED) !== 0;
  }

  /** The name of the calling thread. */
  comm(): string {
    return textOf(this.words, this.word + COMM, COMM_WORDS);
  }

  /** Whether the key at `field` (a byte offset in EVENT) names an object. */
  has(field: number): boolean {
    const at = this.word + (field >> 2);
    return (this.u32[at] | this.u32[at + 1]) !== 0;
  }

  /** Where an mdev is named: the inode number of its directory in sysfs, 0 once it has none. */
  get inode(): number {
    const at = this.word + FILE;
    return this.u32[at] + this.u32[at + 1] * 2 ** 32;
  }

  /** Bytes of a name field (an offset in NAMES); only when {@link isNamed}. */
  name(field: Exclude<keyof typeof NAMES, 'uuid'>): string {
    return textOf(this.words, this.word + NAME_AT[field], NAME_WORDS[field]);
  }

  /** The uuid of a create as text. */
  uuid(): string {
    return guidOf(this.u8, (this.word << 2) + NAMES.uuid);
  }
}

const COMM = EVENT.comm >> 2;
const FILE = EVENT.file >> 2;
const COMM_WORDS = 4;

/** By name field, in 32-bit words. */
const inWords = (pick: 'offset' | 'size') =>
  Object.fromEntries(WIRE.names.map((field) => [field.name, field[pick] >> 2])) as Record<
    keyof typeof NAMES,
    number
  >;
const NAME_AT = inWords('offset');
const NAME_WORDS = inWords('size');
