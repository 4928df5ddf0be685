/**
 * This host's kernel as a source of records: attaches the probes, reads the ring, looks
 * at what exists when it starts and whenever something was lost, and notices modules
 * that come and go.
 */
import { setImmediate as immediately, setTimeout as later } from 'node:timers/promises';
import type { EventCursor } from '../../src/events/cursor.ts';
import type { PointStatus, SourceListener } from '../../src/events/source.ts';
import { POINT } from '../../src/events/wire.gen.ts';
import { removeStaleDefinitions } from '../../src/kernel/attach.ts';
import type { LaneCounts } from '../../src/kernel/lanes.ts';
import { eachRecord, look, lookBegins } from '../../src/kernel/look.ts';
import { bootTime, Waiter } from '../../src/kernel/os.ts';
import { Probes, type ProbesOptions } from '../../src/kernel/probes.ts';
import type { Config } from '../config/schema.ts';

/** Records taken in before the rest of the agent gets its turn. */
const BATCH = 8192;
const IDLE_MS = 1000;
/** Looks at an empty ring, one a millisecond, before the reader goes to sleep. */
const EMPTY_LOOKS = 5;
const TICK_MS = 1000;
/** Least time between the ends of two looks at the host: under lasting loss, they must not be all that is done. */
const LOOK_PAUSE_MS = 250;

/** Why the host was looked at: at the start, because a module came, or because events were lost. */
export type LookReason = 'start' | 'module' | 'loss';

/** A look at the host that has been taken in. */
export interface LookReport {
  readonly reason: LookReason;
  /** ns on the boot-time clock. */
  readonly began: number;
  /** ns. */
  readonly lasted: number;
  /** What could not be looked at, and why. */
  readonly problems: readonly string[];
}

export class LiveSource {
  readonly #probes: Probes;
  readonly #waiter: Waiter;
  #listener: SourceListener | undefined;
  #stopping = false;
  #reading: Promise<void> | undefined;
  #looking: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #missedBefore = 0;
  #callsFullBefore = 0;
  #unreadableBefore = 0;
  #malformedBefore = 0;
  #droppedBefore = 0;
  #lookWanted: LookReason | undefined;
  #lookEnded = 0;
  #moduleCame = false;
  /** Probe definitions of an agent that was killed, which were taken back. */
  readonly stale: number;
  onLook: (report: LookReport) => void = () => {};

  /** Attaches the probes. @throws when nothing can work on this host */
  constructor(options: ProbesOptions) {
    this.stale = removeStaleDefinitions();
    this.#probes = new Probes(options);
    this.#waiter = new Waiter(this.#probes.ringFd);
  }

  points(): PointStatus[] {
    return this.#probes.statuses();
  }

  lanes(): LaneCounts[] {
    return this.#probes.lanes.counts();
  }

  ring(): { readonly bytes: number; readonly backlog: number } {
    return { bytes: this.#probes.ringBytes, backlog: this.#probes.ring.backlog };
  }

  /** Begins to read. */
  start(listener: SourceListener): void {
    this.#listener = listener;
    listener.watching(this.points());
    this.#lookWanted = 'start';
    this.#reading = this.#read();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#timer);
    this.#waiter.wake();
    await this.#reading;
    await this.#looking;
    this.#countLosses(this.lanes());
    while (this.#drain() === BATCH) await immediately();
    this.#catchUp();
    this.#waiter.close();
    this.#probes.close();
  }

  /**
   * Reads what comes. While events come, the ring is looked at every millisecond;
   * going to sleep for each pause would cost more than reading does, and the way
   * back through a thread pool takes longer than a small ring lasts.
   */
  async #read(): Promise<void> {
    let empty = 0;
    while (!this.#stopping) {
      const count = this.#drain();
      empty = count === 0 ? empty + 1 : 0;
      if (this.#moduleCame) this.#refresh();
      if (count < BATCH) this.#lookIfWanted();
      if (count === BATCH) await immediately();
      else if (empty < EMPTY_LOOKS) await later(1);
      else await this.#waiter.wait(IDLE_MS);
    }
  }

  #drain(): number {
    return this.#probes.ring.drain(BATCH, this.#receive);
  }

  readonly #receive = (event: EventCursor): void => {
    if (event.point === POINT.MODULE_LOAD) this.#moduleCame = true;
    this.#listener?.record(event);
  };

  #tick(): void {
    this.#countLosses(this.lanes());
    this.#refresh();
    this.#catchUp();
    this.#lookIfWanted();
  }

  /**
   * Time passes only as far as all events up to then have been handed over. The attempts
   * first: a record that is tried later may still be in the ring.
   */
  #catchUp(): void {
    const now = bootTime();
    const attempts = this.lanes().map((lane) => lane.attempts);
    const emptied = this.#drain() < BATCH && this.#probes.ring.backlog === 0;
    if (emptied) this.#listener?.caughtUp(now, attempts);
  }

  /** Losses that show in no sequence number. */
  #countLosses(lanes: readonly LaneCounts[]): void {
    const sum = (count: (lane: LaneCounts) => number) =>
      lanes.reduce((total, lane) => total + count(lane), 0);
    const missed = this.#missed();
    const full = sum((lane) => lane.callsFull);
    const unreadable = sum((lane) => lane.unreadable);
    const { malformed } = this.#probes.ring;
    this.#tell('probe_missed', missed - this.#missedBefore);
    this.#tell('calls_full', full - this.#callsFullBefore);
    this.#tell('unreadable', unreadable - this.#unreadableBefore);
    this.#tell('malformed', malformed - this.#malformedBefore);
    this.#missedBefore = missed;
    this.#callsFullBefore = full;
    this.#unreadableBefore = unreadable;
    this.#malformedBefore = malformed;
  }

  #tell(reason: Parameters<SourceListener['lost']>[0], count: number): void {
    if (count <= 0) return;
    this.#listener?.lost(reason, count);
    this.#lookWanted ??= 'loss';
  }

  #missed(): number {
    return this.points().reduce((sum, point) => sum + point.missed, 0);
  }

  #refresh(): void {
    this.#moduleCame = false;
    if (this.#probes.refresh().length === 0) return;
    // What the probes of a module that left had missed is no longer in the sum.
    this.#missedBefore = this.#missed();
    this.#listener?.watching(this.points());
    this.#lookWanted ??= 'module';
  }

  #lookIfWanted(): void {
    const dropped = this.lanes().reduce((sum, lane) => sum + lane.dropped, 0);
    if (dropped > this.#droppedBefore) this.#lookWanted ??= 'loss';
    this.#droppedBefore = dropped;
    if (!this.#lookWanted || this.#looking || this.#stopping) return;
    if (performance.now() - this.#lookEnded < LOOK_PAUSE_MS) return;
    const reason = this.#lookWanted;
    this.#lookWanted = undefined;
    this.#looking = this.#look(reason).finally(() => {
      this.#looking = undefined;
      this.#lookEnded = performance.now();
    });
  }

  /**
   * Looks at the host while events go on. What it found is handed over once all events
   * up to its end have been, between a record of its beginning and one of its end.
   */
  async #look(reason: LookReason): Promise<void> {
    const listener = this.#listener;
    if (!listener) return;
    const hand = (event: EventCursor) => listener.record(event);
    // What is missing so far must be known, for the look to put it right.
    this.#catchUp();
    const began = bootTime();
    eachRecord(lookBegins(), hand);
    const { records, problems } = await look(this.#probes.seenFiles);
    while (this.#drain() === BATCH) await immediately();
    for (const some of records) eachRecord(some, hand);
    this.onLook({ reason, began, lasted: bootTime() - began, problems });
  }
}

/** What the settings mean for the probes. */
export function sourceOptions({ ring, attach }: Config, directory: string): ProbesOptions {
  return { directory, ringBytes: ring.bytes, moduleBtf: attach.module_btf };
}
