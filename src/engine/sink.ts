/**
 * Where everything that the agent finds out goes: logs, metrics, traces, recorders. A sink implements
 * what concerns it. Sinks are called in their order, on the way of an event, so none may block, and
 * none may keep a transition, which is filled again for the next event.
 */
import type { BudgetReport, LossReason, PointStatus, SnapshotReport } from '../events/source.ts';
import type { Transition } from '../lifecycle/transition.ts';
import type { Rule } from './rule.ts';
import type { Violation } from './violation.ts';

/**
 * raised: it is new. repeated: a one-shot violation happened again. escalated: it is known, and its
 * severity rose. waiters_found: for the first time, it is known who waits behind the call that does not
 * return. resolved: an ongoing violation ended.
 */
export type Change = 'raised' | 'repeated' | 'escalated' | 'waiters_found' | 'resolved';

/** Whether a violation occurred, rather than that more is known of it, or that it ended. */
export const isOccurrence = (change: Change) => change !== 'resolved' && change !== 'waiters_found';

export interface Sink {
  /** An event, before the rules judge it, so that logs read in order. */
  event?(transition: Transition): void;
  violation?(violation: Violation, change: Change): void;
  /** Events did not arrive. */
  loss?(reason: LossReason, count: number): void;
  /** From here on, these points can be observed. */
  coverage?(points: readonly PointStatus[]): void;
  /** The budget has led to something. @param inactive rules that miss points that it detached */
  budget?(report: BudgetReport, inactive: readonly string[]): void;
  /** A host snapshot has been processed. */
  snapshot?(report: SnapshotReport): void;
  /** About once a second. @param now ns on the boot-time clock */
  tick?(now: number): void;
  /** The source has ended; what is buffered is written out. */
  end?(): void | Promise<void>;
  /** A rule threw an error; it may miss violations, and the other rules continue. */
  ruleError?(rule: Rule, error: unknown): void;
}
