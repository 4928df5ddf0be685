/**
 * Plays a recording to a listener, call after call as its source made them. Where the
 * file breaks off or is damaged, the playing ends, and {@link Player.problem} says why.
 */
import { EventCursor } from '../events/cursor.ts';
import type { PointStatus, SourceListener } from '../events/source.ts';
import { EVENT, FLAG, WIRE } from '../events/wire.gen.ts';
import { UserProblem } from '../problem.ts';
import {
  ITEM,
  itemBytes,
  KIND,
  LOSS,
  LOSSES,
  MAX_RAW,
  MAX_TIME,
  PointsSchema,
  parseAs,
} from './format.ts';
import type { Block, RecordingReader } from './reader.ts';

const NO_ATTEMPTS: readonly number[] = [];
const TIME = EVENT.time >> 2;
const FLAGS_WORD = EVENT.flags >> 2;
const NAMED = FLAG.EVENT_NAMED << ((EVENT.flags & 3) * 8);

export class Player {
  /** Records handed over. */
  records = 0;
  /** Why it is not known how the recording went on; undefined when it came to its end. */
  problem: UserProblem | undefined;
  /** ns on the boot-time clock: everything before was played. */
  until: number;
  readonly #reader: RecordingReader;
  readonly #items = new ArrayBuffer(MAX_RAW);
  readonly #bytes = Buffer.from(this.#items);
  readonly #words = new Int32Array(this.#items);
  readonly #doubles = new Float64Array(this.#items);
  readonly #cursor = new EventCursor(this.#items);
  #block: Block | undefined;
  /** Bytes of the block: those that were played, and all. */
  #at = 0;
  #length = 0;
  #begun = false;

  constructor(reader: RecordingReader) {
    this.#reader = reader;
    this.until = reader.header.startedAt;
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

  #stop({ message, next }: UserProblem): false {
    this.problem = new UserProblem(`${message}; ${this.records} records before it were read`, next);
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
    const fits = length >= WIRE.eventSize && length === this.#recordBytes(payload);
    if (!fits) return this.#wrong(`a record of ${length} bytes is not possible`);
    this.#cursor.moveTo(payload);
    listener.record(this.#cursor);
    this.records++;
    return true;
  }

  #recordBytes(payload: number): number {
    const named = this.#words[(payload >> 2) + FLAGS_WORD] & NAMED;
    return named ? WIRE.namedSize : WIRE.eventSize;
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
    let points: readonly PointStatus[];
    try {
      const text = this.#bytes.toString('utf8', payload, payload + length);
      points = parseAs(PointsSchema, text);
    } catch (error) {
      return this.#wrong(`points that cannot be read: ${(error as Error).message}`);
    }
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
