/**
 * Listens to a source and writes what it passes on. Items gather in one buffer, which is
 * written as a block when it is full or when a second has passed on the source's
 * clock, so that a record costs a copy and allocates nothing.
 */
import type { EventCursor } from '../events/cursor.ts';
import { SequenceCheck } from '../events/sequence.ts';
import type { PointStatus, SourceListener, UncountedLoss } from '../events/source.ts';
import { FLAG, WIRE } from '../events/wire.gen.ts';
import type { UserProblem } from '../problem.ts';
import { SECOND } from '../units.ts';
import { FULL, ITEM, itemBytes, KIND, LOSS, MAX_POINTS, MAX_RAW } from './format.ts';
import { RecordingWriter, type WriterOptions } from './writer.ts';

/** ns that may be missing when the recorder is killed. */
const FLUSH = SECOND;

export class Recorder implements SourceListener {
  /** Called once, when the file can no longer be written. */
  onProblem: (problem: UserProblem) => void = () => {};
  /** Records taken from the source. */
  records = 0;
  /** Those of them that are not in the file, because it could not be written. */
  unwritten = 0;
  /** Records missing by what the source said. */
  readonly losses: Record<UncountedLoss, number> = {
    probe_missed: 0,
    calls_full: 0,
    malformed: 0,
    unreadable: 0,
  };
  readonly #writer: RecordingWriter;
  /** What the attempts of each CPU are by the records so far. */
  readonly #sequence = new SequenceCheck();
  readonly #items = new ArrayBuffer(MAX_RAW);
  readonly #bytes = Buffer.from(this.#items);
  readonly #words = new Int32Array(this.#items);
  readonly #doubles = new Float64Array(this.#items);
  /** Bytes of items that are not written yet, and the records among them. */
  #length = 0;
  #waiting = 0;
  /** ns: up to when the file is complete, and up to when the source was. */
  #until: number;
  #latest: number;
  #points: string;

  /** @throws {UserProblem} when the file cannot be made */
  constructor(options: WriterOptions) {
    this.#writer = new RecordingWriter(options);
    this.#until = options.header.startedAt;
    this.#latest = this.#until;
    this.#points = JSON.stringify(options.header.points);
  }

  /** Why nothing is written any more. */
  get problem(): UserProblem | undefined {
    return this.#writer.problem;
  }

  /** Written so far. */
  get bytes(): number {
    return this.#writer.bytes;
  }

  /** ns on the boot-time clock: up to when the source has passed on everything. */
  get until(): number {
    return this.#latest;
  }

  /** Records that found the ring full. */
  get ringFull(): number {
    return this.#sequence.lost;
  }

  record(event: EventCursor): void {
    // Records of a host snapshot were in no ring, and are in no sequence.
    if ((event.flags & FLAG.EVENT_SNAPSHOT) === 0) this.#sequence.observe(event);
    const length = event.isNamed ? WIRE.namedSize : WIRE.eventSize;
    const to = this.#item(KIND.record, length) >> 2;
    const { words, word } = event;
    for (let i = 0; i < length >> 2; i++) this.#words[to + i] = words[word + i];
    this.records++;
    this.#waiting++;
  }

  lost(reason: UncountedLoss, count: number): void {
    this.losses[reason] += count;
    const at = this.#item(KIND.lost, 16) >> 3;
    this.#doubles[at] = LOSS[reason];
    this.#doubles[at + 1] = count;
  }

  /** Sources call this often. It is kept when it shows a loss, and once a second for the time. */
  caughtUp(now: number, attempts: readonly number[]): void {
    this.#latest = now;
    if (this.#settle(attempts) > 0) {
      const at = this.#item(KIND.caughtUp, 8 + 8 * attempts.length) >> 3;
      this.#doubles[at] = now;
      for (let cpu = 0; cpu < attempts.length; cpu++) this.#doubles[at + 1 + cpu] = attempts[cpu];
    }
    if (now - this.#until >= FLUSH) this.#flush(now);
  }

  watching(points: readonly PointStatus[]): void {
    const json = JSON.stringify(points);
    const length = Buffer.byteLength(json);
    // What no reader would believe is not worth to stop for.
    if (json === this.#points || length > MAX_POINTS) return;
    this.#points = json;
    this.#bytes.write(json, this.#item(KIND.watching, length));
  }

  /** Writes what is left and closes the file. */
  end(): void {
    if (this.#length > 0) this.#flush(this.#latest);
    this.#writer.end(this.#latest);
  }

  /** @returns how many records are missing that no later record has shown */
  #settle(attempts: readonly number[]): number {
    let missing = 0;
    for (let cpu = 0; cpu < attempts.length; cpu++) {
      missing += this.#sequence.settle(cpu, attempts[cpu]);
    }
    return missing;
  }

  /** @returns where the payload goes, a multiple of 8 */
  #item(kind: number, length: number): number {
    const bytes = itemBytes(length);
    if (this.#length + bytes > FULL && this.#length > 0) this.#flush(this.#until);
    const start = this.#length;
    this.#words[(start + ITEM.kind) >> 2] = kind;
    this.#words[(start + ITEM.length) >> 2] = length;
    this.#length += bytes;
    return start + ITEM.size;
  }

  #flush(until: number): void {
    const { problem } = this;
    this.#writer.block(this.#bytes.subarray(0, this.#length), until);
    this.#until = until;
    this.#length = 0;
    if (this.problem) this.unwritten += this.#waiting;
    this.#waiting = 0;
    if (this.problem && !problem) this.onProblem(this.problem);
  }
}
