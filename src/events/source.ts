/**
 * What a source of records passes to its listener. The kernel, a recording and a
 * generator are all sources, so that whatever listens is the same for each.
 */
import type { Problem } from '../problem.ts';
import type { EventCursor } from './cursor.ts';
import type { PointName } from './points.ts';

/**
 * Why records are missing, where no gap in the sequence shows it. probe_missed: the
 * kernel could not run a program. calls_full: too many calls in flight. unreadable: an
 * object failed its check. malformed: what the ring holds is not a record.
 */
export type UncountedLoss = 'probe_missed' | 'calls_full' | 'unreadable' | 'malformed';

/** Why records are missing; ring_full is what gaps in the sequence show. */
export type LossReason = 'ring_full' | UncountedLoss;

/**
 * Why a host snapshot was taken: at the start, because a module was loaded, because events were
 * lost, or because points that the budget had detached were attached again; and again later, because a call that was in flight then shows only in its end, and
 * an end without a begin names no object.
 */
export type SnapshotReason = 'start' | 'module' | 'loss' | 'recheck' | 'restored';

/** A host snapshot that has been processed. */
export interface SnapshotReport {
  readonly reason: SnapshotReason;
  /** ns on the boot-time clock. */
  readonly began: number;
  /** ns. */
  readonly lasted: number;
  /** What could not be read, and why. */
  readonly problems: readonly Problem[];
}

/** How one logical point is watched on the kernel that the records come from. */
export interface PointStatus {
  readonly point: PointName;
  readonly module: string;
  readonly description: string;
  /**
   * waiting: its module is not loaded. failed: it cannot work here; the reason says why.
   * inferred: this kernel has no such step of its own, and it follows from another point.
   * detached: it works, and the agent detached it because the cost was over the budget.
   */
  readonly state: 'attached' | 'inferred' | 'waiting' | 'failed' | 'detached';
  /** The kernel function in use. */
  readonly symbol?: string;
  readonly method?: string;
  readonly reason?: string;
  /** Times the kernel could not run a program of this point. */
  readonly missed: number;
  /** Its function may block, and only a few calls in flight can be watched: tracefs is not writable. */
  readonly limited: boolean;
}

/** Whether calls at that point are observed, by a probe of its own or inferred from another point. */
export function isWatched({ state }: Pick<PointStatus, 'state'>): boolean {
  return state === 'attached' || state === 'inferred';
}

/** What is watched, without what it took the kernel to count. */
export type PointState = Omit<PointStatus, 'missed'>;

/** Points that the budget had detached are watched again. */
export interface Restored {
  /** They are watched completely from here on, ns on the boot-time clock. */
  readonly since: number;
  /** Whether the state of objects depends on them, so that it may be wrong until a host snapshot. */
  readonly lifecycle: boolean;
}

/** probes: the run time of the programs in the kernel. agent: the CPU time of this process. */
export type BudgetName = 'probes' | 'agent';

/**
 * What the budget led to. unmeasured: the kernel does not count the run time, for that reason. detached: these points were detached. exhausted: the cost is over the budget, and
 * detaching points would not lower it. restored: the points were attached again.
 */
export interface BudgetReport {
  readonly change: 'unmeasured' | 'detached' | 'exhausted' | 'restored';
  /** Only of `unmeasured`. */
  readonly reason?: string;
  readonly budget: BudgetName;
  readonly points: readonly PointName[];
  /** Whether the state of objects depends on these points. */
  readonly lifecycle: boolean;
  /** Cost and limit as shares of one CPU: 0.05 is 5 %. */
  readonly used: number;
  readonly limit: number;
  /** For how long the cost was over the budget; of `restored`, for how long it was low; ns. */
  readonly lasted: number;
  /** For how long the cost has to stay low before the points are attached again, ns. */
  readonly wait: number;
}

export interface SourceListener {
  /** One record. The cursor is valid only during the call. */
  record(event: EventCursor): void;
  /** Records are missing that no sequence number will show. */
  lost(reason: UncountedLoss, count: number): void;
  /**
   * All records written before `now` have been passed on.
   * @param now ns on the boot-time clock
   * @param attempts records that each CPU, by its number, had tried to write
   */
  caughtUp(now: number, attempts: readonly number[]): void;
  /** How each point is watched from here on. */
  watching(points: readonly PointStatus[], restored?: Restored): void;
  /** The budget has led to something; {@link watching} was called before. A recording has none of these. */
  budget?(report: BudgetReport): void;
  /** The records of a host snapshot have been handed over. A recording has none of these reports. */
  snapshot?(report: SnapshotReport): void;
}
