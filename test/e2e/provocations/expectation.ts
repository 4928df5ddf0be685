// SPDX-License-Identifier: Apache-2.0
/** What a provocation must make the agent report. */
import type { Severity } from '../../../src/engine/rule.ts';
import type { Waiter } from '../../../src/engine/violation.ts';
import type { EventKind } from '../../../src/events/points.ts';
import type { Quality } from '../../../src/lifecycle/tracked-object.ts';

/** What a violation is about. */
export type Subject =
  | { readonly device: string }
  | { readonly parent: string }
  /** The pid of the process that created the VM. */
  | { readonly vm: number }
  /** The host as a whole. */
  | 'the host';

/** What the violation of a rule must have, beside its rule and its subject. */
export interface Expectation {
  readonly severity: Severity;
  /** observed where left out; otherwise for an agent that did not observe everything. */
  readonly quality?: Quality;
  /** Event kinds that the evidence must have, in this order; others may be between them. */
  readonly evidence: readonly EventKind[];
  /** The name of the process that caused it, or that is blocked. */
  readonly process?: string;
  /** The names of the processes that hold the object; each must be reported. */
  readonly holders?: readonly string[];
  /** What a line of the kernel log beside it has. */
  readonly kernelLog?: RegExp;
  /** What the message must contain. */
  readonly message?: RegExp;
  /** The name of the task that waits. */
  readonly blocked?: string;
  /** Those that wait behind it, by name, and how sure that is. */
  readonly waiters?: Readonly<Record<string, Waiter['how']>>;
}
