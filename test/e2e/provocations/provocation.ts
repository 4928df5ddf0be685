// SPDX-License-Identifier: Apache-2.0
/** A way to break rules on a real kernel. */
import type { Quality } from '../../../src/lifecycle/objects.ts';
import type { MomentName } from '../../../src/lifecycle/points.ts';
import type { Kernels, KernelVersion, Severity } from '../../../src/rules/rule.ts';
import type { Scene } from './scene.ts';

export interface Provocation {
  /** Ids of the rules that it breaks, as far as the kernel at hand lets it. */
  readonly rules: readonly string[];
  /** What is done, in a few words. */
  readonly how: string;
  /** Where that can be done, when it is not everywhere where the rules can be broken. */
  readonly kernels?: Kernels;
  /** What the kernel's log says of it, from a kernel on; where left out, nothing. */
  readonly complaint?: { readonly words: RegExp; readonly from?: KernelVersion };
  readonly play: (scene: Scene) => Promise<void>;
}

/** What a violation is about. */
export type Subject =
  | { readonly device: string }
  | { readonly parent: string }
  /** The pid of the process that made it. */
  | { readonly vm: number }
  /** The host as a whole. */
  | 'the host';

/** What must be told of a broken rule, beyond which one it is and of what. */
export interface Told {
  readonly severity: Severity;
  /** observed, unless it is an agent that has not seen all. */
  readonly quality?: Quality;
  /** Moments that the evidence has, in this order and with others between them. */
  readonly evidence: readonly MomentName[];
  /** The command of the process that did it, or that is blocked. */
  readonly process?: string;
  /** Commands of those who hold what is in the way; each must be there. */
  readonly holders?: readonly string[];
  /** The command of the task that waits. */
  readonly blocked?: string;
}
