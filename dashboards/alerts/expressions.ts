/** PromQL and template text that several alerts share. */

/** Severities that raise an alert of their own; VfioscopeMemoryAtRisk covers critical violations. */
const ALERTING = 'severity=~"warning|error"';

/** Matches without the labels that only series of single objects have, so that sums can replace those. */
const IGNORING_OBJECTS = 'ignoring (device, parent, vm)';

/** How long a one-shot violation, which is never resolved, keeps its alert firing. */
const ONE_SHOT_WINDOW = '15m';

/**
 * Ongoing violations: one alert for each device, VM or parent, or one for each rule where objects have
 * no series of their own (`metrics.per_device`, `metrics.max_devices`). Severity and id are aggregated
 * away, so that it stays the same alert when the severity rises and when the agent restarts.
 */
export function ongoing(rules: readonly string[], severity = ALERTING): string {
  const matchers = `{${ruleMatcher(rules)}${severity}}`;
  return (
    `max without (violation_id, severity) (vfioscope_violation_info${matchers})\n` +
    `or ${IGNORING_OBJECTS} max without (severity) (vfioscope_violations_open${matchers})`
  );
}

/** One-shot violations of the last 15 minutes, by rule. */
export function oneShot(rules: readonly string[]): string {
  return increased(`vfioscope_violations_total{${ruleMatcher(rules)}${ALERTING}}`, 'severity');
}

/**
 * Counters that increased within the last 15 minutes. `increase()` is 0 for a counter whose first
 * sample is already above 0, which is usual for counters that appear with their first event: a series
 * that did not exist 15 minutes ago therefore counts as an increase.
 * @param without the label to aggregate away
 */
function increased(series: string, without: string): string {
  return (
    `sum without (${without}) (increase(${series}[${ONE_SHOT_WINDOW}])) > 0\n` +
    `or sum without (${without}) (${series} unless ${series} offset ${ONE_SHOT_WINDOW}) > 0`
  );
}

/** Both kinds; a rule with an ongoing violation on the host raises no second alert for its one-shot ones. */
export function ongoingOrOneShot(
  ongoingRules: readonly string[],
  oneShotRules: readonly string[],
): string {
  return `${ongoing(ongoingRules)}\nor ${IGNORING_OBJECTS} (\n${indented(oneShot(oneShotRules))}\n)`;
}

/**
 * Critical violations, for as long as the agent knows of them: until it restarts. The 10 minutes of
 * `last_over_time` keep the alert firing when a scrape fails.
 */
export const CRITICAL =
  `${ongoing([], 'severity="critical"')}\n` +
  `or ${IGNORING_OBJECTS} max without (severity) (last_over_time(vfioscope_violations_total{severity="critical"}[10m])) > 0`;

function ruleMatcher(rules: readonly string[]): string {
  return rules.length > 0 ? `rule=~"${rules.join('|')}",` : '';
}

function indented(text: string): string {
  return text.replaceAll(/^/gm, '  ');
}

/** Template: the object of an ongoing violation, as far as the labels name it, and its host. */
export const OBJECT =
  '{{ or $labels.device $labels.vm $labels.parent "an object" }} on {{ $labels.instance }}';

/** Template: the host, and the object if the labels name one. */
export const ON_HOST =
  'on {{ $labels.instance }}{{ with or $labels.device $labels.vm $labels.parent }} ({{ . }}){{ end }}';

/** Template: the processes that hold the device open. */
export const HOLDERS =
  '{{ with printf "vfioscope_device_holder_info{instance=%q,device=%q}" $labels.instance $labels.device | query }}' +
  ' It is held open by{{ range . }} {{ .Labels.comm }} (pid {{ .Labels.pid }}' +
  '{{ with .Labels.systemd_unit }}, {{ . }}{{ end }}){{ end }}.{{ end }}';

/** Template: where the agent on that host shows the violation. */
export const EVIDENCE =
  ' Evidence: GET /api/v1/violations?rule={{ $labels.rule }} on the agent of that host.';
