/** The filters of /api/v1/violations: `?state=open&severity=error&severity=critical`. */

import { SEVERITIES } from '../engine/rule.ts';
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

/** The filters: the value that a violation has for each, and the values allowed if these are few. */
const FILTERS: Readonly<
  Record<
    string,
    { of: (violation: Violation) => string | readonly string[]; values?: readonly string[] }
  >
> = {
  kind: { of: kindOf, values: KINDS },
  state: { of: stateOf, values: STATES },
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
): (violation: Violation) => boolean {
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
    return (violation: Violation) =>
      [filter.of(violation)].flat().some((one) => wanted.includes(one));
  });
  return (violation) => tests.every((matches) => matches(violation));
}
