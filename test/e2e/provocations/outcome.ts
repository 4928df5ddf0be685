// SPDX-License-Identifier: Apache-2.0
/** The outcome of provoking each rule on a kernel: provoked/KERNEL.json, for the table in docs/rules. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { isPossible, type Kernels, type Rule } from '../../../src/engine/rule.ts';
import type { Traits } from '../../../src/events/traits.ts';
import type { ExpectedViolation } from '../lab-session.ts';
import type { Provocation } from './provocation.ts';

const SEVERITIES = ['info', 'warning', 'error', 'critical'];
const DIRECTORY = new URL('../provoked/', import.meta.url);

/** The kernels of rules that are violated as a side effect of a provocation of another rule. */
const ONLY_ON: Readonly<Record<string, Kernels>> = {
  'open-during-unregister': {
    where: { opensDuringRemoval: true },
    because: 'the device leaves its group before its removal waits, so an open fails with ENODEV',
  },
  'vm-pinned-by-device': {
    where: { coreHoldsVm: true },
    because:
      'the core takes no reference on the VM of an open device, and the drivers here take none',
  },
  'kvm-destroyed-while-captured': {
    where: { coreHoldsVm: false },
    because: 'an open device holds a reference on its VM',
  },
};

export interface Outcome {
  /** replayed: it could happen on this kernel, but only the rule's example sequences of events show it. */
  readonly outcome: 'provoked' | 'impossible' | 'replayed';
  /** The highest severity that was reported. */
  readonly severity?: string;
  readonly because?: string;
}

/**
 * @param reported the violations that were expected and reported
 * @param impossible why the agent itself says that a rule cannot fire there, by the rule's id
 */
export function outcomes(
  rules: readonly Rule[],
  traits: Traits,
  reported: readonly ExpectedViolation[],
  provocations: readonly Provocation[],
  impossible: ReadonlyMap<string, string>,
): Record<string, Outcome> {
  const sorted = rules.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  return Object.fromEntries(sorted.map((rule) => [rule.id, outcomeOf(rule)]));

  function outcomeOf(rule: Rule): Outcome {
    const why = isPossible(rule, traits) ? impossible.get(rule.id) : (rule.kernels?.because ?? '');
    if (why !== undefined) return { outcome: 'impossible', because: why };
    const severities = reported
      .filter((one) => one.rule === rule.id)
      .map(({ severity }) => severity);
    const severity = SEVERITIES.findLast((one) => severities.includes(one));
    if (severity) return { outcome: 'provoked', severity };
    const because = elsewhere(rule.id) ?? byNothing(rule);
    return { outcome: 'replayed', ...(because ? { because } : {}) };
  }

  function elsewhere(id: string): string | undefined {
    const ways = provocations.filter(({ rules }) => rules.includes(id));
    return [ONLY_ON[id], ...ways.map(({ kernels }) => kernels)].find(
      (kernels) => kernels && !isPossible({ kernels }, traits),
    )?.because;
  }
}

function byNothing({ provocation: { by, how } }: Rule): string | undefined {
  return by === 'nothing' ? how : undefined;
}

/** @returns the rules that were not provoked without a reason */
export function unexplained(all: Readonly<Record<string, Outcome>>): string[] {
  return Object.keys(all).filter(
    (id) => all[id].outcome === 'replayed' && all[id].because === undefined,
  );
}

export function writeOutcomes(
  kernel: string,
  release: string,
  rules: Record<string, Outcome>,
): void {
  mkdirSync(DIRECTORY, { recursive: true });
  const text = JSON.stringify({ release, rules }, null, 2);
  writeFileSync(new URL(`${kernel}.json`, DIRECTORY), `${text}\n`);
}
