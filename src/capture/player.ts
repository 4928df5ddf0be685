/**
 * Plays a recording to a listener, call after call as its source made them. Where the
 * file breaks off or is damaged, the playing ends, and {@link Player.problem} says why.
 */
import { messageOf } from '../errors.ts';
import { EventCursor } from '../events/cursor.ts';
import type { SourceListener } from '../events/source.ts';
import { cutUserName } from '../events/user-name.ts';
import { EVENT, FLAG, WIRE } from '../events/wire.gen.ts';
import { UserProblem } from '../problem.ts';
import {
  FORMAT,
  ITEM,
  itemBytes,
  KIND,
  LOSS,
  LOSSES,
  MAX_POINTS,
  MAX_RAW,
  MAX_TIME,
  type Points,
  parsePoints,
  unknownPoint,
} from './format.ts';
import { parsePoints1, RECORD1, Translation1 } from './format1.ts';
import type { Block, RecordingReader } from './reader.ts';

const NO_ATTEMPTS: readonly number[] = [];
const TIME = EVENT.time >> 2;
const FLAGS_WORD = EVENT.flags >> 2;
const NAMED = FLAG.EVENT_NAMED << ((EVENT.flags & 3) * 8);

export class Player {
  /** Records handed over. */
  records = 0;
  /** Why it is not known how the recording continues; undefined when it was read to its end. */
  problem: UserProblem | undefined;
  /** ns on the boot-time clock: everything before was played. */
  until: number;
  readonly #reader: RecordingReader;
  readonly #items = new ArrayBuffer(MAX_RAW);
  readonly #bytes = Buffer.from(this.#items);
  readonly #words = new Int32Array(this.#items);
  readonly #doubles = new Float64Array(this.#items);
  readonly #cursor = new EventCursor(this.#items);
  readonly #translation: Translation1 | undefined;
  /** Bytes of a record without and with names. */
  readonly #sizes: { readonly event: number; readonly named: number };
  #block: Block | undefined;
  /** Bytes of the block: those that were played, and all. */
  #at = 0;
  #length = 0;
  #begun = false;

  constructor(reader: RecordingReader) {
    this.#reader = reader;
    this.until = reader.header.startedAt;
    this.#translation = reader.format === FORMAT ? undefined : new Translation1();
    this.#sizes = this.#translation ? RECORD1 : { event: WIRE.eventSize, named: WIRE.namedSize };
  }

  /** Bytes from the beginning of the file to the block that is played; undefined before and after all blocks. */
  get offset(): number | undefined {
    return this.#block?.offset;
  }

  /** When the next call was made, ns on the boot-time clock; undefined when it does not say. */
  get upcoming(): number | undefined {
    if (!this.#block) return undefined;
    if (this.#at >= this.#length) return this.#block.until;
    const payload = (this.#at + ITEM.size) >> 2;
    switch (this.#words[this.#at >> 2]) {
      case KIND.record:
        return (
          (this.#words[payload + TIME] >>> 0) + (this.#words[payload + TIME + 1] >>> 0) * 2 ** 32
        );
      case KIND.caughtUp:
        return this.#doubles[payload >> 1];
      default:
        return undefined;
    }
  }

  /** Makes the next call. @returns false at the end */
  step(listener: SourceListener): boolean {
    if (!this.#begun) {
      this.#begun = true;
      listener.watching(this.#reader.header.points);
      return this.#load();
    }
    if (!this.#block) return false;
    if (this.#at < this.#length) return this.#play(listener);
    if (this.#block.until > this.until) {
      this.until = this.#block.until;
      listener.caughtUp(this.until, NO_ATTEMPTS);
    }
    return this.#load();
  }

  /** @returns whether there is another block */
  #load(): boolean {
    this.#block = undefined;
    try {
      this.#block = this.#reader.next();
    } catch (error) {
      if (!(error instanceof UserProblem)) throw error;
      return this.#stop(error);
    }
    if (!this.#block) return false;
    this.#block.raw.copy(this.#bytes);
    this.#length = this.#block.raw.length;
    this.#at = 0;
    return true;
  }

  #stop({ code, message, next }: UserProblem): false {
    const text = `${message}; ${this.records} records before it were read`;
    this.problem = new UserProblem(code, text, next);
    this.#block = undefined;
    return false;
  }

  #play(listener: SourceListener): boolean {
    const kind = this.#words[this.#at >> 2];
    const length = this.#words[(this.#at + ITEM.length) >> 2] >>> 0;
    const payload = this.#at + ITEM.size;
    if (length > this.#length - payload) return this.#wrong('an item is longer than its block');
    this.#at += itemBytes(length);
    switch (kind) {
      case KIND.record:
        return this.#record(listener, payload, length);
      case KIND.lost:
        return this.#lost(listener, payload, length);
      case KIND.caughtUp:
        return this.#caughtUp(listener, payload, length);
      case KIND.watching:
        return this.#watching(listener, payload, length);
      default:
        return this.#wrong(`there is no item of kind ${kind}`);
    }
  }

  #record(listener: SourceListener, payload: number, length: number): boolean {
    const { event, named } = this.#sizes;
    const fits = length >= event && length === (this.#isNamed(payload) ? named : event);
    if (!fits) return this.#wrong(`a record of ${length} bytes is not possible`);
    cutUserName(this.#bytes, payload);
    this.#cursor.moveTo(payload);
    listener.record(this.#translation?.translate(this.#words, payload >> 2) ?? this.#cursor);
    this.records++;
    return true;
  }

  #isNamed(payload: number): boolean {
    return (this.#words[(payload >> 2) + FLAGS_WORD] & NAMED) !== 0;
  }

  #lost(listener: SourceListener, payload: number, length: number): boolean {
    const number = this.#doubles[payload >> 3];
    const reason = LOSSES.find((one) => LOSS[one] === number);
    const count = this.#doubles[(payload >> 3) + 1];
    const fits = length === 16 && reason !== undefined && isCount(count);
    if (!fits) return this.#wrong('a loss that means nothing');
    listener.lost(reason, count);
    return true;
  }

  #caughtUp(listener: SourceListener, payload: number, length: number): boolean {
    const [now, ...attempts] = this.#doubles.subarray(payload >> 3, (payload + length) >> 3);
    const fits = now >= 0 && now <= MAX_TIME && attempts.every(isCount);
    if (!fits) return this.#wrong('a time that means nothing');
    this.until = Math.max(this.until, now);
    listener.caughtUp(now, attempts);
    return true;
  }

  #watching(listener: SourceListener, payload: number, length: number): boolean {
    if (length > MAX_POINTS) return this.#wrong(`${length} bytes of points are not possible`);
    let points: Points;
    try {
      const text = this.#bytes.toString('utf8', payload, payload + length);
      points = this.#translation ? parsePoints1(text) : parsePoints(text);
    } catch (error) {
      return this.#wrong(`points that cannot be read: ${messageOf(error)}`);
    }
    const unknown = unknownPoint(points);
    if (unknown !== undefined) return this.#wrong(`no point is named ${JSON.stringify(unknown)}`);
    listener.watching(points);
    return true;
  }

  #wrong(what: string): false {
    return this.#stop(this.#reader.damaged(this.#block?.offset ?? 0, `in its block, ${what}`));
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
