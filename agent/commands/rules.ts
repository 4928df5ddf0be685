/** `vfioscope rules`: lists all rules, and whether each is active on this host. */

import { release } from 'node:os';
import { RULES } from '../../src/catalogue.ts';
import { isPossible, type Rule, type Severity } from '../../src/engine/rule.ts';
import { type DerivedTrait, type Traits, valuesOf } from '../../src/events/traits.ts';
import { type RuleState, whyInactive } from '../runtime/rule-options.ts';
import { type DoctorReport, examine } from './doctor.ts';
import { rulesOfAgent } from './running-agent.ts';

export interface ListedRule {
  readonly id: string;
  readonly title: string;
  readonly severity: Severity;
  /** When a violation has another severity, in words. */
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

/** Attaches the probes briefly, as doctor does, and lists for each rule what that means for it. */
export function listRules(probeDirectory: string): RuleList {
  const { kernel, problem, rules, traits } = examine(probeDirectory);
  return ruleList(kernel, rules, traits, problem);
}

/** The rules as a running agent has them. @throws {UserProblem} when none answers */
export async function listRulesOf(url: string): Promise<RuleList> {
  return ruleList(release(), await rulesOfAgent(url), []);
}

/**
 * @param states of the rules that could be tried; of the others only those are known that the traits exclude
 * @param derived of the host, as far as they are known
 */
export function ruleList(
  kernel: string,
  states: readonly RuleState[],
  derived: readonly DerivedTrait[],
  problem?: DoctorReport['problem'],
): RuleList {
  const byId = new Map(states.map((state) => [state.id, state]));
  const traits = valuesOf(derived);
  const rules = RULES.map((rule) => {
    const { id, title, severity, severityVaries } = rule;
    const varies = severityVaries === undefined ? {} : { severityVaries };
    return { id, title, severity, ...varies, ...stateOf(rule, byId.get(id), traits) };
  });
  return { kernel, ...(problem ? { problem } : {}), rules };
}

function stateOf(
  rule: Rule,
  found: RuleState | undefined,
  traits: Traits,
): Pick<ListedRule, 'state' | 'why'> {
  const isExcluded = isPossible(rule, traits) === false;
  const impossible = isExcluded ? rule.kernels?.because : found?.impossible;
  if (impossible !== undefined) return { state: 'impossible', why: impossible };
  if (!found) return { state: 'unknown' };
  if (found.active) return { state: 'active' };
  return { state: 'inactive', why: whyInactive(found) };
}

const STATES: Readonly<Record<ListedRule['state'], string>> = {
  active: 'active',
  inactive: 'inactive',
  impossible: 'cannot happen',
  unknown: 'unknown',
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
    problem ? `cannot find out which rules are active: ${problem.message}` : summary(rules),
    ...(problem ? [`  what to do: ${problem.next}`] : []),
    '… the severity varies; describe a rule with: vfioscope explain RULE',
  ].join('\n');
}

function summary(rules: readonly ListedRule[]): string {
  const count = (wanted: ListedRule['state']) =>
    rules.filter(({ state }) => state === wanted).length;
  return (
    `${rules.length} rules: ${count('active')} active, ${count('inactive')} inactive, ` +
    `${count('impossible')} that cannot happen on this kernel`
  );
}
