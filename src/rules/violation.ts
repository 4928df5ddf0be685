/** A violation: one rule broken by one object, however often or long. */
import type { Quality, Task } from '../lifecycle/objects.ts';
import type { TimelineEntry } from '../lifecycle/timeline.ts';
import type { Severity } from './rule.ts';

export interface Violation {
  readonly id: string;
  readonly rule: string;
  readonly title: string;
  severity: Severity;
  /** Serial number of the device's life: its name may be another device's, too. */
  readonly life: number | undefined;
  /** The device's UUID or bus address. */
  readonly device: string | undefined;
  readonly parent: string | undefined;
  readonly type: string | undefined;
  readonly vm: VmReference | undefined;
  /** Who made the call that broke the order, or who is blocked by it. */
  readonly task: Task | undefined;
  /** ns on the boot-time clock. */
  readonly firstSeen: number;
  lastSeen: number;
  count: number;
  /** A condition that holds until it is resolved, not a single act. */
  readonly lasting: boolean;
  /** When the condition ended, 0 while it lasts or when it was a single act. */
  resolvedAt: number;
  readonly quality: Quality;
  explanation: string;
  /** The events that prove it, in order. */
  evidence: readonly TimelineEntry[];
}

export interface VmReference {
  readonly id: string;
  readonly pid: number | undefined;
  readonly comm: string | undefined;
}
