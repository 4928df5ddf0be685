// SPDX-License-Identifier: Apache-2.0
/** Violations that are true although the loads are correct, and why. */

import { DEFAULT_THRESHOLDS } from '../../../src/engine/rule.ts';

/** docs/false-alarms.md shows this table. */
export const TRUE_VIOLATIONS = {
  'open-without-kvm': {
    severity: 'info',
    why: 'A device was opened without a VM, as DPDK does. Its driver needs none.',
  },
  'nested-open': {
    severity: 'info',
    why: 'A process had two descriptors of one device at a time, which is legal.',
  },
  'observer-gap': {
    severity: 'warning',
    why: 'The ring was made too small on purpose, and the agent was stopped for a second: it reports that it could not observe for a while.',
  },
  'remove-stall': {
    severity: 'warning',
    why: 'A device was removed while its VMM had it open, an agent was started meanwhile, and on that machine it all took longer than a removal may wait.',
  },
} as const;

export interface Expected {
  readonly rule: keyof typeof TRUE_VIOLATIONS;
  /** The device it is about; none when it is about the host. */
  readonly device?: string;
  /** It may be raised more often than once. */
  readonly mayRepeat?: boolean;
  /** Or not at all, because that depends on when the agent was ready. */
  readonly mayBeMissed?: boolean;
}

/** What a load did and the agents have to report. */
export interface LoadResult {
  readonly expected: readonly Expected[];
  /** Devices that existed, where that is known: an agent that observed nothing raises no violation either. */
  readonly devices?: number;
  /** For part of the time no agent ran, or events were lost. */
  readonly mayBeMissed?: boolean;
}

export const NOTHING: LoadResult = { expected: [] };

export function withoutKvm(device: string): Expected {
  return { rule: 'open-without-kvm', device };
}

export function nested(device: string): Expected {
  return { rule: 'nested-open', device };
}

/** A removal that waited for so long, ns, for a part of which an agent observed it. */
export function slowRemoval(device: string, waited: number): Expected[] {
  if (waited < DEFAULT_THRESHOLDS.removeStall) return [];
  return [{ rule: 'remove-stall', device, mayBeMissed: true }];
}

export const BLIND: Expected = { rule: 'observer-gap', mayRepeat: true };
