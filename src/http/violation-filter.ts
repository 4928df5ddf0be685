/** Which violations somebody asked for: `?state=open&severity=error&severity=critical`. */
import { UserProblem } from '../problem.ts';
import type { Severity } from '../rules/rule.ts';
import type { Violation } from '../rules/violation.ts';

export type ViolationState = 'open' | 'resolved' | 'happened';

/** happened: a single act, which has no end. */
export function stateOf({ lasting, resolvedAt }: Violation): ViolationState {
  if (resolvedAt) return 'resolved';
  return lasting ? 'open' : 'happened';
}

const STATES: readonly ViolationState[] = ['open', 'resolved', 'happened'];
const SEVERITIES: readonly Severity[] = ['info', 'warning', 'error', 'critical'];

/** What can be asked for: its value of a violation, and the values that there are if these are few. */
const FILTERS: Readonly<
  Record<string, { of: (violation: Violation) => string | undefined; values?: readonly string[] }>
> = {
  state: { of: stateOf, values: STATES },
  severity: { of: ({ severity }) => severity, values: SEVERITIES },
  rule: { of: ({ rule }) => rule },
  // Names of PCI devices and UUIDs are the same in capitals.
  device: { of: ({ device }) => device?.toLowerCase() },
};

/**
 * @param query each key once or several times; a violation has to match one value of each key
 * @throws {UserProblem} when it asks for what there is not
 */
export function violationFilter(
  query: Readonly<Record<string, string | readonly string[]>>,
): (violation: Violation) => boolean {
  const tests = Object.entries(query).map(([key, value]) => {
    const filter = Object.hasOwn(FILTERS, key) ? FILTERS[key] : undefined;
    if (!filter) {
      throw new UserProblem(
        `violations have no filter ${key}`,
        `use ${Object.keys(FILTERS).join(', ')}`,
      );
    }
    const wanted = [value].flat().map((one) => one.toLowerCase());
    const unknown = filter.values && wanted.find((one) => !filter.values?.includes(one));
    if (unknown !== undefined) {
      throw new UserProblem(
        `no violation has the ${key} ${unknown}`,
        `use ${filter.values?.join(', ')}`,
      );
    }
    return (violation: Violation) => wanted.includes(filter.of(violation) ?? '');
  });
  return (violation) => tests.every((matches) => matches(violation));
}
