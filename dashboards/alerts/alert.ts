/** What an alert is: one entry of a table from which its rule, its runbook and its tests are generated. */

export interface Alert {
  /** UpperCamelCase with the product as its prefix, because it stands beside alerts of other products. */
  readonly name: string;
  /** critical: somebody is paged. warning: somebody looks at it today. info: context for other alerts. */
  readonly severity: 'critical' | 'warning' | 'info';
  /** How long the expression has to hold before the alert fires, seconds. */
  readonly for: number;
  /** Why it has this severity and this `for`. */
  readonly rationale: string;
  /** How long it fires on after the expression has stopped holding, seconds: over scrapes that fail. */
  readonly keepFiring?: number;
  /** PromQL with the label `cluster` and `$threshold`s, see dashboards/mixin. */
  readonly expr: string;
  /**
   * By default it is about a host whose agent answers. `unanswered`: the agent at `instance` does not answer, so
   * that another one has to show the runbook. `fleet`: there is no single host.
   */
  readonly about?: 'unanswered' | 'fleet';
  /** One line, a Prometheus template. */
  readonly summary: string;
  /** The object, what happened to it, what that means and where to look; a Prometheus template. */
  readonly description: string;
  readonly runbook: Runbook;
  /** A case in which the alert fires, and a similar one in which it does not. */
  readonly fires: TestCase & { readonly labels: Labels };
  readonly doesNotFire: TestCase;
  /** Further cases; it fires in those that have labels. */
  readonly also?: readonly (TestCase & { readonly labels?: Labels })[];
}

type Labels = Readonly<Record<string, string>>;

/** The parts of a runbook page, in the order in which an operator needs them. */
export interface Runbook {
  /** The first safe step. */
  readonly firstDo: string;
  /** What makes it worse, or what a reader would wrongly conclude. */
  readonly firstDont: string;
  /** Commands on the host, with what to look for. */
  readonly confirm: readonly Step[];
  readonly fix: string;
  /** What the alert means. */
  readonly why: string;
  /** Ids of the rules whose violations raise the alert; the page quotes their texts. */
  readonly rules?: readonly string[];
  /** When the alert fires although nothing is wrong. */
  readonly falsePositives: string;
}

export interface Step {
  /** What the command shows: whole sentences. */
  readonly shows: string;
  readonly command: string;
  /** What it means when the command prints nothing, without a full stop. Left out where it always prints something. */
  readonly nothing?: string;
}

/** Input series in the notation of promtool: samples are one minute apart. */
export interface TestCase {
  readonly title: string;
  /** `name{label="value"} 0 1x9`; the labels job and instance are added. */
  readonly series: readonly string[];
  /** Minutes between the first sample and the evaluation. */
  readonly at: number;
  /** Labels of other alerts that rightly fire in it as well, beside those of the target. */
  readonly others?: readonly Labels[];
  /** What the alert says then, where its templates ask for more than its labels. */
  readonly text?: Readonly<Record<'summary' | 'description' | 'runbook_url', string>>;
}

export interface AlertGroup {
  readonly title: string;
  readonly description: string;
  readonly alerts: readonly Alert[];
}

/** The default address of the agent, for commands that run on its host. */
export const API = 'http://127.0.0.1:10055';

/** Of a violation, for jq: `how` says whether a process was observed to hold a file or only may do so. */
const HOLDERS_AND_REMOVER =
  'holders: [.holders[] | {how, holds, vmName} + (.process | {pid, comm, systemdUnit})], removedBy';

/**
 * Shows the violations of these rules as the agent reports them.
 * @param states `open` for what is stuck now, `happened` for one-shot violations
 */
export function violations(
  rules: readonly string[],
  ...states: readonly ('open' | 'happened')[]
): Step {
  const query = [
    ...rules.map((rule) => `rule=${rule}`),
    ...states.map((state) => `state=${state}`),
  ].join('&');
  return {
    shows:
      'The violations: what happened to which device, VM or parent, its holders, who removes it, the blocked task, and who waits behind that. A holder was observed to open it (`opened`), is known to have it (`holds`), or is only suspected (`may hold`). GET /api/v1/violations/ID has the events that prove one.',
    nothing: 'the violation was resolved meanwhile, or the agent was restarted after it',
    command: `curl -sS '${API}/api/v1/violations?${query}' | jq '.violations[] | {id, severity, state, message, ${HOLDERS_AND_REMOVER}, blocked, waiters}'`,
  };
}
