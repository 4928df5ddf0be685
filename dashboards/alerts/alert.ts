/** What an alert is: one row, of which its rule, its runbook and its tests are made. */

export interface Alert {
  /** UpperCamelCase, begins with the product, as it stands beside alerts of others. */
  readonly name: string;
  /** critical: somebody is woken. warning: somebody looks today. info: to be seen beside others. */
  readonly severity: 'critical' | 'warning' | 'info';
  /** How long the expression has to hold, seconds. */
  readonly for: number;
  /** Why this severity and this `for`. */
  readonly because: string;
  /** PromQL. */
  readonly expr: string;
  /** One line, a template of Prometheus. */
  readonly summary: string;
  /** What is wrong and where to look, a template of Prometheus. */
  readonly description: string;
  readonly runbook: Runbook;
  /** When it has to fire, and a case that looks alike in which it must not. */
  readonly fires: Case & { readonly labels: Readonly<Record<string, string>> };
  readonly quiet: Case;
}

export interface Runbook {
  readonly means: string;
  /** Ids of the rules whose findings it is about; theirs is the rest of what it means. */
  readonly rules?: readonly string[];
  /** Commands on the host, with what to look for. */
  readonly confirm: readonly Step[];
  readonly fix: string;
  /** When it fires and nothing is wrong. */
  readonly falseWhen: string;
}

export interface Step {
  readonly does: string;
  readonly command: string;
}

/** Series as promtool takes them: their values a minute apart. */
export interface Case {
  readonly title: string;
  /** `name{label="value"} 0 1x9`; job and instance are added. */
  readonly series: readonly string[];
  /** Minutes after the first value at which it is looked at. */
  readonly at: number;
}

export interface AlertGroup {
  readonly title: string;
  readonly about: string;
  readonly alerts: readonly Alert[];
}

/** Where the agent listens unless told otherwise, for commands on its host. */
export const API = 'http://127.0.0.1:10055';

/** A look at what is wrong by the agent's own account. */
export function violations(rules: readonly string[]): Step {
  const query = rules.map((rule) => `rule=${rule}`).join('&');
  return {
    does: 'Which device, VM or parent it is, who holds it, who waits, and the events that prove it.',
    command: `curl -s '${API}/api/v1/violations?${query}' | jq '.violations[] | {id, severity, state, explanation, holders, blocked}'`,
  };
}
