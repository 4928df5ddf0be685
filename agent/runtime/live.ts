/**
 * The kernel of this host as a source of records: attaches the probes, drains the ring, takes host
 * snapshots at the start and whenever something was lost, and attaches to modules that are loaded later.
 */
import type { EventCursor } from '../../src/events/cursor.ts';
import type { PointName } from '../../src/events/points.ts';
import type {
  PointState,
  PointStatus,
  SnapshotReason,
  SourceListener,
} from '../../src/events/source.ts';
import { POINT, POINT_LIMIT } from '../../src/events/wire.gen.ts';
import { removeStaleDefinitions } from '../../src/kernel/attach.ts';
import type { CpuCounts } from '../../src/kernel/cpu-counters.ts';
import { bootTime, Waiter } from '../../src/kernel/os.ts';
import type { PinReport } from '../../src/kernel/pins.ts';
import { Probes, type ProbesOptions } from '../../src/kernel/probes.ts';
import { eachRecord, snapshot, snapshotBegins } from '../../src/kernel/snapshot.ts';
import type { HostTraits } from '../../src/kernel/traits.ts';
import type { Config } from '../config/schema.ts';
import { VERSION } from '../version.ts';
import type { BudgetSettings, Step } from './budget.ts';
import { budgetSettings, CostControl, type Costs, detachReason, pointsOf } from './cost-control.ts';
import { LossCounter, type LossTotals } from './loss-counter.ts';
import { explainFailure, preflight } from './preflight.ts';
import { RingLoop, realWaits } from './ring-loop.ts';
import { SnapshotSchedule } from './snapshot-schedule.ts';

const TICK_MS = 1000;
/** A module is loaded within milliseconds, unless the kernel waits for its hardware. */
const TRANSIT_MS = 50;

/** How far a pinned ring was read, by all agents together. */
export interface PinnedAccount {
  readonly records: number;
  /** Missing in the sequence. */
  readonly lost: number;
  /** Records by index of the event kind. */
  readonly counts: Float64Array;
  /** The next sequence number of each CPU. */
  next(): number[];
}

export interface LiveOptions extends ProbesOptions {
  /** What probes and agent may cost; undefined where nothing is limited. */
  readonly budget?: BudgetSettings | undefined;
}

export class LiveSource {
  readonly #probes: Probes;
  readonly #waiter: Waiter;
  readonly #loop: RingLoop;
  readonly #losses: LossCounter;
  readonly #schedule = new SnapshotSchedule();
  readonly #costs: CostControl | undefined;
  /** Records that were read, by number of the point. */
  readonly #records = new Float64Array(POINT_LIMIT);
  #listener: SourceListener | undefined;
  #stopping = false;
  #snapshotting: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** For modules that are being loaded or unloaded. */
  #transitTimer: NodeJS.Timeout | undefined;
  /** Records that found a pinned ring full, and that earlier agents found lost. */
  readonly #lostBefore: number;
  /** Records that found the ring full, and whose loss a host snapshot has reconciled. */
  #reconciled = 0;
  #moduleLoaded = false;
  /** Whether the budget has detached everything. */
  #isBlind = false;

  /** Attaches the probes. @throws when nothing can work on this host */
  constructor({ budget, ...options }: LiveOptions) {
    this.#probes = new Probes(options);
    this.#costs = budget && new CostControl(budget, this.#probes, bootTime, this.#records);
    const { ring, ringFd, session } = this.#probes;
    this.#waiter = new Waiter(ringFd);
    this.#loop = new RingLoop(ring, realWaits(this.#waiter), this.#receive, this.#afterBatch);
    this.#lostBefore = session?.progress.lost ?? 0;
    const { missed, callsFull, unreadable } = session?.reportedLosses ?? {
      ...{ missed: 0, callsFull: 0, unreadable: 0 },
    };
    const reported = { probe_missed: missed, calls_full: callsFull, unreadable, malformed: 0 };
    this.#losses = new LossCounter(() => this.#lossTotals(), reported);
  }

  /** What was found in the directory of pinned probes; undefined where probes are not pinned. */
  get pinned(): PinReport | undefined {
    return this.#probes.pinned;
  }

  /** What all agents have read from the pinned ring so far; undefined where probes are not pinned. */
  account(): PinnedAccount | undefined {
    return this.#probes.session?.progress;
  }

  points(): PointStatus[] {
    return this.#probes.statuses();
  }

  /** What the kernel does, as far as its modules are loaded. */
  get traits(): HostTraits {
    return this.#probes.traits;
  }

  /** Faster than points(), because the kernel is not asked for counts. */
  states(): PointState[] {
    return this.#probes.states();
  }

  /** Why a point of a loaded module is not watched yet, where another attempt may succeed. */
  get shortage(): string | undefined {
    return this.#probes.shortage;
  }

  /** What probes and agent cost; undefined where nothing is limited. */
  costs(): Costs | undefined {
    return this.#costs?.costs;
  }

  cpuCounters(): CpuCounts[] {
    return this.#probes.cpuCounters.counts();
  }

  /** Records that found the ring full since this agent reads it. */
  dropped(): number {
    return this.#probes.cpuCounters.dropped() - this.#lostBefore;
  }

  ring(): { readonly bytes: number; readonly backlog: number } {
    return { bytes: this.#probes.ringBytes, backlog: this.#probes.ring.backlog };
  }

  /** Whether calls were missed that were not handed over as lost yet. Costs system calls. */
  hasMissed(): boolean {
    return this.#losses.hasMissed();
  }

  /**
   * Begins to hand over records.
   * @returns how many stale probe definitions were removed that a killed agent had left
   */
  start(listener: SourceListener): number {
    this.#listener = listener;
    // Not earlier: no probe depends on it.
    const stale = removeStaleDefinitions();
    listener.watching(this.points());
    const { pinned } = this;
    if (pinned?.state === 'replaced' && pinned.records > 0) {
      listener.lost('malformed', pinned.records);
    }
    // Unread records may be from the time of a snapshot that a killed agent did not complete.
    const killed = this.#probes.session?.snapshotPid;
    if (killed) eachRecord(snapshotBegins(killed), (event) => listener.record(event));
    this.#schedule.want('start');
    this.#loop.start();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    return stale;
  }

  /** Hands over what is in the ring, and nothing after that. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#timer);
    clearTimeout(this.#transitTimer);
    await this.#loop.stop();
    await this.#snapshotting;
    this.#reportLosses();
    await this.#loop.drainAll();
    this.#catchUp();
  }

  /** Detaches the probes and unmaps the ring; no other method may be called afterwards. */
  close(): void {
    this.#waiter.close();
    this.#costs?.close();
    this.#probes.close();
  }

  readonly #receive = (event: EventCursor): void => {
    this.#records[event.point]++;
    if (event.point === POINT.MODULE_LOAD) this.#moduleLoaded = true;
    this.#listener?.record(event);
  };

  readonly #afterBatch = (isBehind: boolean): void => {
    if (this.#moduleLoaded) this.#refresh();
    if (!isBehind) this.#snapshotIfDue();
  };

  #tick(): void {
    this.#reportLosses();
    this.#refresh();
    this.#keepBudget();
    this.#catchUp();
    this.#snapshotIfDue();
  }

  #keepBudget(): void {
    if (!this.#costs || this.#stopping) return;
    for (const step of this.#costs.tick()) {
      const points = pointsOf(step);
      const lifecycle = step.points === 'all';
      if (step.change === 'detached') this.#detach(points, step);
      if (step.change === 'restored') this.#restore(lifecycle);
      this.#listener?.budget?.({ ...step, points, lifecycle });
    }
  }

  #detach(points: readonly PointName[], step: Step): void {
    this.#isBlind ||= step.points === 'all';
    this.#probes.giveUp(points, detachReason(step));
    // What was observed before is judged by all rules, and no call of it is found in flight later.
    this.#loop.drain();
    this.#listener?.watching(this.points());
  }

  /** @param lifecycle whether the state of objects depends on what is attached again */
  #restore(lifecycle: boolean): void {
    // A module that was reloaded since has to be found changed first.
    this.#refresh();
    this.#isBlind = false;
    this.#probes.restore();
    this.#listener?.watching(this.points(), { since: bootTime(), lifecycle });
    this.#schedule.want('restored');
  }

  /**
   * Lets time pass for the listener, if all events up to now have been handed over. The attempts are read
   * before the ring: a record that is attempted later may still be in it.
   * @returns whether that was so, and with it all losses up to now are known
   */
  #catchUp(): boolean {
    const now = bootTime();
    const attempts = this.cpuCounters().map((counters) => counters.attempts);
    if (!this.#loop.drain()) return false;
    const progress = this.#probes.session?.progress;
    if (progress) for (const [cpu, tried] of attempts.entries()) progress.settle(cpu, tried);
    this.#listener?.caughtUp(now, attempts);
    return true;
  }

  /** Losses that show in no sequence number, as the kernel and the ring count them. */
  #lossTotals(): LossTotals {
    const cpuCounters = this.cpuCounters();
    const sum = (count: (counters: CpuCounts) => number) =>
      cpuCounters.reduce((total, counters) => total + count(counters), 0);
    return {
      probe_missed: this.#probes.missed(),
      calls_full: sum((counters) => counters.callsFull),
      unreadable: sum((counters) => counters.unreadable),
      malformed: this.#probes.ring.malformed,
    };
  }

  #reportLosses(): void {
    const { session } = this.#probes;
    this.#losses.report(
      ({ probe_missed: missed, calls_full: callsFull, unreadable }) => {
        if (session) session.reportedLosses = { missed, callsFull, unreadable };
      },
      (reason, count) => {
        this.#listener?.lost(reason, count);
        this.#schedule.want('loss');
      },
    );
  }

  #refresh(): void {
    this.#moduleLoaded = false;
    clearTimeout(this.#transitTimer);
    const changed = this.#probes.refresh();
    if (this.#probes.isModuleInTransit && !this.#stopping) {
      this.#transitTimer = setTimeout(() => this.#refresh(), TRANSIT_MS);
    }
    if (changed.length === 0) return;
    this.#listener?.watching(this.points());
    this.#schedule.want('module');
  }

  #snapshotIfDue(): void {
    if (this.#probes.cpuCounters.dropped() > this.#reconciled) this.#schedule.want('loss');
    // What a snapshot finds while nothing is observed would be wrong soon.
    if (this.#stopping || this.#isBlind) return;
    const reason = this.#schedule.begin(performance.now());
    if (!reason) return;
    this.#snapshotting = this.#snapshot(reason).finally(() => {
      this.#schedule.end(performance.now());
    });
  }

  /**
   * Takes a host snapshot while events continue. Its records are handed over once all events up to its end
   * have been, between a record of its begin and one of its end.
   */
  async #snapshot(reason: SnapshotReason): Promise<void> {
    const listener = this.#listener;
    if (!listener) return;
    const receive = (event: EventCursor) => listener.record(event);
    // Losses up to now must be known, so that the snapshot can reconcile them.
    const dropped = this.#probes.cpuCounters.dropped();
    if (this.#catchUp()) this.#reconciled = dropped;
    const began = bootTime();
    const { session } = this.#probes;
    if (session) session.snapshotPid = process.pid;
    eachRecord(snapshotBegins(), receive);
    const { records, problems } = await snapshot(this.#probes.snapshotFiles);
    if (session) session.snapshotPid = 0;
    await this.#loop.drainAll();
    for (const some of records) eachRecord(some, receive);
    listener.snapshot?.({ reason, began, lasted: bootTime() - began, problems });
  }
}

/** Attaches the probes to this host. @throws {UserProblem} with what prevents it */
export function openSource(config: Config, probeDirectory: string): LiveSource {
  preflight();
  try {
    return new LiveSource(sourceOptions(config, probeDirectory));
  } catch (error) {
    throw explainFailure(error);
  }
}

/** Translates settings into options of the probes. */
function sourceOptions(config: Config, directory: string): LiveOptions {
  const { ring, attach, pin } = config;
  return {
    budget: budgetSettings(config),
    ...{ directory, ringBytes: ring.bytes, moduleBtf: attach.module_btf },
    method: attach.method,
    ...(pin.enabled ? { pin: { directory: pin.directory, agent: VERSION } } : {}),
  };
}
