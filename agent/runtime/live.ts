/**
 * This host's kernel as a source of records: attaches the probes, reads the ring, looks
 * at what exists when it starts and whenever something was lost, and notices modules
 * that come and go.
 */
import { setImmediate as immediately, setTimeout as later } from 'node:timers/promises';
import type { EventCursor } from '../../src/events/cursor.ts';
import type { PointState, PointStatus, SourceListener } from '../../src/events/source.ts';
import { POINT } from '../../src/events/wire.gen.ts';
import { removeStaleDefinitions } from '../../src/kernel/attach.ts';
import type { LaneCounts } from '../../src/kernel/lanes.ts';
import { eachRecord, look, lookBegins } from '../../src/kernel/look.ts';
import { bootTime, Waiter } from '../../src/kernel/os.ts';
import type { PinReport } from '../../src/kernel/pins.ts';
import type { Told } from '../../src/kernel/pins-session.ts';
import { Probes, type ProbesOptions } from '../../src/kernel/probes.ts';
import type { Config } from '../config/schema.ts';
import { VERSION } from '../version.ts';
import { checkObstacles, explainFailure } from './preflight.ts';

/** Records taken in before the rest of the agent gets its turn. */
const BATCH = 8192;
const IDLE_MS = 1000;
/** Looks at an empty ring, one a millisecond, before the reader goes to sleep. */
const EMPTY_LOOKS = 5;
const TICK_MS = 1000;
/** Least time between the ends of two looks at the host: under lasting loss, they must not be all that is done. */
const LOOK_PAUSE_MS = 250;
/** When the host is looked at again. */
const LOOK_AGAIN_MS = 1500;

/**
 * Why the host was looked at: at the start, because a module came, or because events were
 * lost; and again a little later, because of what was under way then only its end could tell,
 * and an end without a begin names nothing.
 */
export type LookReason = 'start' | 'module' | 'loss' | 'again';

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

/** How far a pinned ring was read, by all agents that ever did. */
export interface PinnedAccount {
  readonly records: number;
  /** Missing in the sequence. */
  readonly lost: number;
  /** Records by moment index. */
  readonly counts: Float64Array;
  /** The sequence number that each CPU goes on with. */
  next(): number[];
}

export class LiveSource {
  readonly #probes: Probes;
  readonly #waiter: Waiter;
  #listener: SourceListener | undefined;
  #stopping = false;
  #reading: Promise<void> | undefined;
  #looking: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** What was told of losses without a sequence number, by earlier agents too. */
  #told: Told;
  #malformedBefore = 0;
  /** Records that found a pinned ring full, and that earlier agents found lost. */
  readonly #lostBefore: number;
  /** Records that found the ring full, and whose loss a look at the host has put right. */
  #putRight = 0;
  #lookWanted: LookReason | undefined;
  #lookEnded = 0;
  #againAt = Number.POSITIVE_INFINITY;
  #moduleCame = false;
  /** Probe definitions of an agent that was killed, which were taken back at the start. */
  stale = 0;
  onLook: (report: LookReport) => void = () => {};

  /** Attaches the probes. @throws when nothing can work on this host */
  constructor(options: ProbesOptions) {
    this.#probes = new Probes(options);
    this.#waiter = new Waiter(this.#probes.ringFd);
    this.#lostBefore = this.#probes.session?.progress.lost ?? 0;
    this.#told = this.#probes.session?.told ?? { missed: 0, callsFull: 0, unreadable: 0 };
  }

  /** What was found where probes are pinned; undefined where they are not. */
  get pinned(): PinReport | undefined {
    return this.#probes.pinned;
  }

  /** What all agents have read from the pinned ring so far; undefined where nothing is pinned. */
  account(): PinnedAccount | undefined {
    return this.#probes.session?.progress;
  }

  points(): PointStatus[] {
    return this.#probes.statuses();
  }

  /** Sooner told, because the kernel is asked for no counts. */
  states(): PointState[] {
    return this.#probes.states();
  }

  lanes(): LaneCounts[] {
    return this.#probes.lanes.counts();
  }

  /** Records that found the ring full since this agent reads it. */
  dropped(): number {
    return this.#probes.lanes.dropped() - this.#lostBefore;
  }

  ring(): { readonly bytes: number; readonly backlog: number } {
    return { bytes: this.#probes.ringBytes, backlog: this.#probes.ring.backlog };
  }

  /** Begins to read. */
  start(listener: SourceListener): void {
    this.#listener = listener;
    // Not sooner: no probe waits for it.
    this.stale = removeStaleDefinitions();
    listener.watching(this.points());
    const { pinned } = this;
    if (pinned?.state === 'replaced' && pinned.records > 0) {
      listener.lost('malformed', pinned.records);
    }
    // What waits to be read may be of the time of a look that never came to its end.
    const killed = this.#probes.session?.looker;
    if (killed) eachRecord(lookBegins(killed), (event) => listener.record(event));
    this.#lookWanted = 'start';
    this.#reading = this.#read();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** Reads what there is, and no more. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#timer);
    this.#waiter.wake();
    await this.#reading;
    await this.#looking;
    this.#countLosses();
    while (this.#drain() === BATCH) await immediately();
    this.#catchUp();
  }

  /** Lets go of the probes and of the kernel's memory, so nothing can be asked afterwards. */
  close(): void {
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
    this.#countLosses();
    this.#refresh();
    this.#catchUp();
    this.#lookIfWanted();
  }

  /**
   * Time passes only as far as all events up to then have been handed over. The attempts
   * first: a record that is tried later may still be in the ring.
   * @returns whether that was so, and with it all losses up to now are known
   */
  #catchUp(): boolean {
    const now = bootTime();
    const attempts = this.lanes().map((lane) => lane.attempts);
    const emptied = this.#drain() < BATCH && this.#probes.ring.backlog === 0;
    if (!emptied) return false;
    const progress = this.#probes.session?.progress;
    if (progress) for (const [cpu, tried] of attempts.entries()) progress.settle(cpu, tried);
    this.#listener?.caughtUp(now, attempts);
    return true;
  }

  /** What shows in no sequence number, as the kernel counts it. */
  #uncounted(): Told {
    const lanes = this.lanes();
    const sum = (count: (lane: LaneCounts) => number) =>
      lanes.reduce((total, lane) => total + count(lane), 0);
    return {
      missed: this.#probes.missed(),
      callsFull: sum((lane) => lane.callsFull),
      unreadable: sum((lane) => lane.unreadable),
    };
  }

  /** Whether calls were missed that were not handed over as lost yet. Costs system calls. */
  hasMissed(): boolean {
    const { missed, callsFull, unreadable } = this.#uncounted();
    const told = this.#told;
    return missed > told.missed || callsFull > told.callsFull || unreadable > told.unreadable;
  }

  /** Hands over the losses of that kind since the last time. */
  #countLosses(): void {
    const before = this.#told;
    const now = this.#uncounted();
    const { malformed } = this.#probes.ring;
    const { session } = this.#probes;
    // First, because an agent that is killed meanwhile must not tell them once more.
    if (session) session.told = now;
    this.#told = now;
    this.#tell('probe_missed', now.missed - before.missed);
    this.#tell('calls_full', now.callsFull - before.callsFull);
    this.#tell('unreadable', now.unreadable - before.unreadable);
    this.#tell('malformed', malformed - this.#malformedBefore);
    this.#malformedBefore = malformed;
  }

  #tell(reason: Parameters<SourceListener['lost']>[0], count: number): void {
    if (count <= 0) return;
    this.#listener?.lost(reason, count);
    this.#lookWanted ??= 'loss';
  }

  #refresh(): void {
    this.#moduleCame = false;
    if (this.#probes.refresh().length === 0) return;
    this.#listener?.watching(this.points());
    this.#lookWanted ??= 'module';
  }

  #lookIfWanted(): void {
    if (this.#probes.lanes.dropped() > this.#putRight) this.#lookWanted ??= 'loss';
    if (performance.now() >= this.#againAt) {
      this.#againAt = Number.POSITIVE_INFINITY;
      this.#lookWanted ??= 'again';
    }
    if (!this.#lookWanted || this.#looking || this.#stopping) return;
    if (performance.now() - this.#lookEnded < LOOK_PAUSE_MS) return;
    const reason = this.#lookWanted;
    this.#lookWanted = undefined;
    this.#looking = this.#look(reason).finally(() => {
      this.#looking = undefined;
      this.#lookEnded = performance.now();
      if (reason !== 'again') this.#againAt = this.#lookEnded + LOOK_AGAIN_MS;
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
    const dropped = this.#probes.lanes.dropped();
    if (this.#catchUp()) this.#putRight = dropped;
    const began = bootTime();
    const { session } = this.#probes;
    if (session) session.looker = process.pid;
    eachRecord(lookBegins(), hand);
    const { records, problems } = await look(this.#probes.seenFiles);
    if (session) session.looker = 0;
    while (this.#drain() === BATCH) await immediately();
    for (const some of records) eachRecord(some, hand);
    this.onLook({ reason, began, lasted: bootTime() - began, problems });
  }
}

/** Attaches the probes to this host. @throws {UserProblem} that says what keeps it from working */
export function openSource(config: Config, probeDirectory: string): LiveSource {
  checkObstacles();
  try {
    return new LiveSource(sourceOptions(config, probeDirectory));
  } catch (error) {
    throw explainFailure(error);
  }
}

/** What the settings mean for the probes. */
function sourceOptions({ ring, attach, pin }: Config, directory: string): ProbesOptions {
  return {
    ...{ directory, ringBytes: ring.bytes, moduleBtf: attach.module_btf },
    method: attach.method,
    ...(pin.enabled ? { pin: { directory: pin.directory, agent: VERSION } } : {}),
  };
}
