/** `vfioscope rules`: every rule, and whether it can work on this host. */
import { kernelVersion } from '../../src/kernel/host.ts';
import { RULES } from '../../src/rules/catalogue.ts';
import { isPossible, type KernelVersion, type Rule, type Severity } from '../../src/rules/rule.ts';
import type { RuleState } from '../runtime/rule-options.ts';
import { type DoctorReport, examine } from './doctor.ts';

export interface ListedRule {
  readonly id: string;
  readonly title: string;
  readonly severity: Severity;
  /** When a finding is of another severity, in words. */
  readonly severityVaries?: string;
  /** unknown: probes could not be tried. */
  readonly state: 'active' | 'inactive' | 'impossible' | 'unknown';
  /** Why it is not active. */
  readonly why?: string;
}

export interface RuleList {
  readonly kernel: string;
  /** Why it is not known which rules are active. */
  readonly problem?: DoctorReport['problem'];
  readonly rules: readonly ListedRule[];
}

/** Tries the probes for a moment, as doctor does, and tells of each rule what that means for it. */
export function listRules(probeDirectory: string): RuleList {
  const { kernel, problem, rules } = examine(probeDirectory);
  return ruleList(kernel, rules, problem);
}

/** @param states what was found by trying; of the rules that are not among them nothing is known */
export function ruleList(
  kernel: string,
  states: readonly RuleState[],
  problem?: DoctorReport['problem'],
): RuleList {
  const byId = new Map(states.map((state) => [state.id, state]));
  const version = kernelVersion(kernel);
  const rules = RULES.map((rule) => {
    const { id, title, severity, severityVaries } = rule;
    const varies = severityVaries === undefined ? {} : { severityVaries };
    return { id, title, severity, ...varies, ...stateOf(rule, byId.get(id), version) };
  });
  return { kernel, ...(problem ? { problem } : {}), rules };
}

function stateOf(
  rule: Rule,
  found: RuleState | undefined,
  kernel: KernelVersion,
): Pick<ListedRule, 'state' | 'why'> {
  const impossible = isPossible(rule, kernel) ? found?.impossible : rule.kernels?.because;
  if (impossible !== undefined) return { state: 'impossible', why: impossible };
  if (!found) return { state: 'unknown' };
  if (found.active) return { state: 'active' };
  return { state: 'inactive', why: `needs ${found.missing.join(', ')}` };
}

const STATES: Readonly<Record<ListedRule['state'], string>> = {
  active: 'active',
  inactive: 'inactive',
  impossible: 'cannot happen',
  unknown: 'not known',
};

/** The list for people. */
export function renderRules({ kernel, problem, rules }: RuleList): string {
  const width = Math.max(...rules.map(({ id }) => id.length));
  const lines = rules.map(({ id, severity, severityVaries, state, why }) => {
    const varies = `${severity}${severityVaries === undefined ? '' : ' …'}`;
    const reason = why === undefined ? '' : `: ${why}`;
    return `${id.padEnd(width)}  ${varies.padEnd(10)}  ${STATES[state]}${reason}`;
  });
  return [
    `${'rule'.padEnd(width)}  ${'severity'.padEnd(10)}  on ${kernel}`,
    ...lines,
    '',
    problem ? `which are active is not known here: ${problem.what}` : summary(rules),
    ...(problem ? [`  what to do: ${problem.next}`] : []),
    '… the severity varies: vfioscope explain RULE tells how, and all else about a rule',
  ].join('\n');
}

function summary(rules: readonly ListedRule[]): string {
  const count = (wanted: ListedRule['state']) =>
    rules.filter(({ state }) => state === wanted).length;
  return (
    `${rules.length} rules: ${count('active')} active, ${count('inactive')} inactive, ` +
    `${count('impossible')} about what cannot happen here`
  );
}
