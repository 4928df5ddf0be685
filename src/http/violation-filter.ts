/** The filters of /api/v1/violations: `?state=open&severity=error&severity=critical`. */

import { SEVERITIES, type Severity } from '../engine/rule.ts';
import type { Violation } from '../engine/violation.ts';
import { UserProblem } from '../problem.ts';

export type ViolationKind = 'ongoing' | 'one-shot';
export type ViolationState = 'open' | 'resolved' | 'happened';

/** An ongoing violation holds until it is resolved; a one-shot violation is a single event. */
export function kindOf({ ongoing }: Violation): ViolationKind {
  return ongoing ? 'ongoing' : 'one-shot';
}

/** Only an ongoing violation can be open or resolved; a one-shot violation has happened. */
export function stateOf({ ongoing, resolvedAt }: Violation): ViolationState {
  if (resolvedAt) return 'resolved';
  return ongoing ? 'open' : 'happened';
}

const KINDS: readonly ViolationKind[] = ['ongoing', 'one-shot'];
const STATES: readonly ViolationState[] = ['open', 'resolved', 'happened'];

/** What violations are filtered by. */
export interface Filterable {
  readonly kind: ViolationKind;
  readonly state: ViolationState;
  readonly severity: Severity;
  readonly rule: string;
  readonly devices: readonly string[];
}

export function filterable(violation: Violation): Filterable {
  const { severity, rule, devices } = violation;
  return { kind: kindOf(violation), state: stateOf(violation), severity, rule, devices };
}

/** The filters: the value that a violation has for each, and the values allowed if these are few. */
const FILTERS: Readonly<
  Record<
    string,
    { of: (violation: Filterable) => string | readonly string[]; values?: readonly string[] }
  >
> = {
  kind: { of: ({ kind }) => kind, values: KINDS },
  state: { of: ({ state }) => state, values: STATES },
  severity: { of: ({ severity }) => severity, values: SEVERITIES },
  rule: { of: ({ rule }) => rule },
  // UUIDs and PCI addresses are not case-sensitive.
  device: { of: ({ devices }) => devices.map((device) => device.toLowerCase()) },
};

/**
 * Makes a predicate of a query.
 * @param query each key once or several times; a violation must match one value of each key
 * @throws {UserProblem} for an unknown filter or value
 */
export function violationFilter(
  query: Readonly<Record<string, string | readonly string[]>>,
): (violation: Filterable) => boolean {
  const tests = Object.entries(query).map(([key, value]) => {
    const filter = Object.hasOwn(FILTERS, key) ? FILTERS[key] : undefined;
    if (!filter) {
      throw new UserProblem(
        'api.unknown-filter',
        `unknown filter of violations: ${key}`,
        `use ${Object.keys(FILTERS).join(', ')}`,
      );
    }
    const wanted = [value].flat().map((one) => one.toLowerCase());
    const unknown = filter.values && wanted.find((one) => !filter.values?.includes(one));
    if (unknown !== undefined) {
      throw new UserProblem(
        'api.unknown-value',
        `unknown ${key} of violations: ${unknown}`,
        `use ${filter.values?.join(', ')}`,
      );
    }
    return (violation: Filterable) =>
      [filter.of(violation)].flat().some((one) => wanted.includes(one));
  });
  return (violation) => tests.every((matches) => matches(violation));
}
