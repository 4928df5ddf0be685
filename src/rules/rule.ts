/** What a rule is: one file each, from which docs, alerts and tests derive. */
import type { Moment } from '../lifecycle/moment.ts';
import type { Device, Parent, Task, Vm } from '../lifecycle/objects.ts';
import type { MomentName, PointName } from '../lifecycle/points.ts';
import type { World } from '../lifecycle/world.ts';
import type { Story } from './story.ts';

/** critical: the kernel may crash or corrupt memory. error: something is stuck or lost. */
export type Severity = 'info' | 'warning' | 'error' | 'critical';

/** Times after which waiting becomes a finding, ns. Users set them in seconds. */
export interface Thresholds {
  /** A remover that waits for its users. */
  readonly removeStall: number;
  /** A VM without a file descriptor that an open device keeps alive. */
  readonly vmPinned: number;
  /** A VM without a file descriptor that nothing visible keeps alive. */
  readonly kvmRefLeak: number;
  /** How long a state may take to settle before it counts. */
  readonly grace: number;
}

export const SECOND = 1e9;

export const DEFAULT_THRESHOLDS: Thresholds = {
  removeStall: 10 * SECOND,
  vmPinned: 10 * SECOND,
  kvmRefLeak: 5 * SECOND,
  grace: 2 * SECOND,
};

/** What a rule may ask about the host beyond the events. */
export interface Host {
  /** Kernel version, [major, minor]. */
  readonly kernel: readonly [number, number];
  /**
   * The processes that hold any KVM file (VM, vcpu, device, statistics) or open
   * per-VM debugfs file. Undefined where that cannot be known, as in a replay.
   * @param notBefore the answer must not be older than this, ns on the boot-time clock
   */
  pidsWithKvmFiles(notBefore: number): ReadonlySet<number> | undefined;
}

/** What a rule says when it finds something. */
export interface Finding {
  readonly device?: Device | undefined;
  readonly vm?: Vm | undefined;
  readonly parent?: Parent | undefined;
  readonly task?: Task | undefined;
  /** Where it differs from the rule's own. */
  readonly severity?: Severity;
  /** It is a condition that lasts until resolved, not an act that may be repeated. */
  readonly lasting?: boolean;
  /** What happened this time, in a sentence or two for a person. */
  readonly says: string;
}

export interface RuleContext {
  readonly world: World;
  readonly host: Host;
  readonly thresholds: Thresholds;
  /** ns on the boot-time clock. */
  readonly now: number;
  /** Raises a violation, or counts one more of the same about the same object. */
  report(finding: Finding): void;
  /** The condition about this object no longer holds. */
  resolve(about: Device | Vm | Parent): void;
}

export interface Rule {
  readonly id: string;
  readonly title: string;
  readonly severity: Severity;
  /** What is wrong and why it matters, for someone who is paged. */
  readonly meaning: string;
  /** What to do. */
  readonly advice: string;
  /** Where the rule comes from: a thread or kernel source. */
  readonly origin: string;
  /**
   * event: what the rule sees is in the events at hand, so it holds for any
   * object. state: it follows from the state that the object is in, so the rule is
   * silent while events about it are missing and no look has put it right. history: it
   * follows from what came before, so the rule is silent about objects whose life was
   * not seen whole.
   */
  readonly basis: 'event' | 'state' | 'history';
  /** Points that the condition relies on beyond those it listens to. */
  readonly needs?: readonly PointName[];
  /**
   * Points that must be steps which the kernel takes itself: where it has no such step and
   * another point tells it, the condition does not exist.
   */
  readonly needsStep?: readonly PointName[];
  readonly on?: Partial<Record<MomentName, (moment: Moment, context: RuleContext) => void>>;
  /** Called about once a second, for what is wrong because time passes. */
  readonly onClock?: (context: RuleContext) => void;
  readonly examples: {
    readonly fires: readonly Example[];
    /** Near misses: legal orders that look alike. */
    readonly silent: readonly Example[];
  };
}

export interface Example {
  readonly title: string;
  readonly tell: (story: Story) => void;
}

/** All points without which a rule cannot tell right from wrong. */
export function pointsNeeded(rule: Rule): PointName[] {
  const points = Object.keys(rule.on ?? {}).map(
    (moment) => moment.slice(0, moment.lastIndexOf(':')) as PointName,
  );
  return [...new Set([...points, ...(rule.needs ?? []), ...(rule.needsStep ?? [])])];
}
