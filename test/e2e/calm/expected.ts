// SPDX-License-Identifier: Apache-2.0
/** What may fire although nothing is wrong with the load, and why it is true all the same. */

/** The one table of it, which docs/false-alarms.md shows. */
export const TRUE_FINDINGS = {
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
    why: 'The ring was made too small on purpose, and the agent was stopped for a second: it says that it is blind for a while.',
  },
} as const;

export interface Expected {
  readonly rule: keyof typeof TRUE_FINDINGS;
  /** The device it is about; none when it is about the host. */
  readonly device?: string;
  /** It may be raised more often than once. */
  readonly mayRepeat?: boolean;
}

/** What a load did, as far as the agent has to agree. */
export interface Done {
  readonly expected: readonly Expected[];
  /** Devices that lived, where that is known: silence is worth nothing from an agent that saw nothing. */
  readonly lives?: number;
  /** No agent ran for part of the time, or lost part of it. */
  readonly mayBeMissed?: boolean;
}

export const NOTHING: Done = { expected: [] };

export function withoutKvm(device: string): Expected {
  return { rule: 'open-without-kvm', device };
}

export function nested(device: string): Expected {
  return { rule: 'nested-open', device };
}

export const BLIND: Expected = { rule: 'observer-gap', mayRepeat: true };
