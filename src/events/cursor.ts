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

  /** At an open: the opener's memory is not that of the VM. False where the kernel does not show it. */
  get isForeign(): boolean {
    return (this.flags & FLAG.EVENT_FOREIGN) !== 0;
  }

  /** When a device is unregistered: its driver can ask its users to release it. */
  get asksUsers(): boolean {
    return (this.flags & FLAG.EVENT_ASKS) !== 0;
  }

  /** When a process requests a device: something followed the name, such as a VF token. */
  get hasOptions(): boolean {
    return (this.flags & FLAG.EVENT_OPTIONS) !== 0;
  }

  get isNamed(): boolean {
    return (this.flags & FLAG.EVENT_NAMED) !== 0;
  }

  /** The name of the caller's process. */
  comm(): string {
    return textOf(this.words, this.word + COMM, COMM_WORDS);
  }

  /** Whether the key at `field` (a byte offset in EVENT) names an object. */
  has(field: number): boolean {
    const at = this.word + (field >> 2);
    return (this.words[at] | this.words[at + 1]) !== 0;
  }

  /** Of a named mdev: the inode number of its directory in sysfs, 0 once it has none. */
  get inode(): number {
    if (!this.isNamed) return 0;
    const at = this.word + INODE;
    return (this.words[at] >>> 0) + (this.words[at + 1] >>> 0) * 2 ** 32;
  }

  /** Of a request to map memory for DMA: its size, 0 if that could not be read. */
  get mappedBytes(): number {
    return this.inode;
  }

  /** The descriptor of the file that a snapshot found; -1 if none. */
  get fd(): number {
    return this.isNamed ? this.words[this.word + FD] : -1;
  }

  /** At the end of a snapshot: bits of `COVERED`, the parts of the host that it could read. */
  get covered(): number {
    return this.isNamed ? this.words[this.word + STATES] & 0xffff : 0;
  }

  /** Of a device that a snapshot found: bits of `DEVICE_STATE`. */
  get deviceState(): number {
    return this.isNamed ? this.words[this.word + STATES] >>> 16 : 0;
  }

  /** The text of a name field; only when {@link isNamed}. */
  name(field: 'device' | 'bus' | 'type' | 'parent' | 'driver'): string {
    return textOf(this.words, this.word + NAME_AT[field], NAME_WORDS[field]);
  }

  /** The uuid of a create as text. */
  uuid(): string {
    return guidOf(this.u8, (this.word << 2) + NAMES.uuid);
  }
}

const COMM = EVENT.comm >> 2;
const INODE = NAMES.inode >> 2;
const FD = NAMES.fd >> 2;
/** The word of covered, in its low half, and device_state. */
const STATES = NAMES.covered >> 2;
const COMM_WORDS = 4;

/** By name field, in 32-bit words. */
const inWords = (pick: 'offset' | 'size') =>
  Object.fromEntries(WIRE.names.map((field) => [field.name, field[pick] >> 2])) as Record<
    keyof typeof NAMES,
    number
  >;
const NAME_AT = inWords('offset');
const NAME_WORDS = inWords('size');
