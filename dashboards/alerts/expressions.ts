/** PromQL that several alerts have in common. */

/** What is severe enough to be told to somebody, and not so much that VfioscopeMemoryAtRisk tells it. */
const BAD = 'severity=~"warning|error"';

/** Labels that only series of single lives have: without those, sums step in. */
const LIFE = 'ignoring (device, parent, vm)';

/** Minutes for which an act, which has no end, is told. */
const TOLD = '15m';

/**
 * Conditions that last, one alert for each device, VM or parent; where these have no series of their
 * own (`metrics.per_device`, `metrics.max_devices`), one for each rule. Without the severity and the
 * id, because it stays the same alert when it gets worse, and when the agent is restarted.
 */
export function conditions(rules: readonly string[], severity = BAD): string {
  const which = `{${ofRules(rules)}${severity}}`;
  return (
    `max without (id, severity) (vfioscope_violation_info${which})\n` +
    `or ${LIFE} max without (severity) (vfioscope_violations_open${which})`
  );
}

/** Acts that happened in the last quarter of an hour, by rule. */
export function acts(rules: readonly string[]): string {
  return grown(`vfioscope_violations_total{${ofRules(rules)}${BAD}}`, 'severity');
}

/**
 * Counters that grew in the last quarter of an hour. One that is there for the first time and is not 0
 * has grown, too, although it has no increase: many begin with what they count.
 * @param without a label that is not told
 */
export function grown(series: string, without: string): string {
  return (
    `sum without (${without}) (increase(${series}[${TOLD}])) > 0\n` +
    `or sum without (${without}) (${series} unless ${series} offset ${TOLD}) > 0`
  );
}

/** Both; an act that left a condition behind is told by that alone. */
export function conditionsAndActs(lasting: readonly string[], acting: readonly string[]): string {
  return `${conditions(lasting)}\nor ${LIFE} (\n${indented(acts(acting))}\n)`;
}

/**
 * Whatever can crash the kernel: as long as it is known, that is until the agent is restarted. A scrape
 * that fails must not look like an end of it.
 */
export const CRITICAL =
  `${conditions([], 'severity="critical"')}\n` +
  `or ${LIFE} max without (severity) (last_over_time(vfioscope_violations_total{severity="critical"}[10m])) > 0`;

function ofRules(rules: readonly string[]): string {
  return rules.length > 0 ? `rule=~"${rules.join('|')}",` : '';
}

function indented(text: string): string {
  return text.replaceAll(/^/gm, '  ');
}

/** Template: what a condition is about, as far as the labels tell. */
export const ABOUT =
  '{{ or $labels.device $labels.vm $labels.parent "an object" }} on {{ $labels.instance }}';

/** Template: where something was, and what it was about if the labels tell. */
export const PLACE =
  'on {{ $labels.instance }}{{ with or $labels.device $labels.vm $labels.parent }}, {{ . }}{{ end }}';

/** Template: who has the device open. */
export const HOLDERS =
  '{{ with printf "vfioscope_device_holder_info{instance=%q,device=%q}" $labels.instance $labels.device | query }}' +
  ' It is held open by{{ range . }} {{ .Labels.comm }} (pid {{ .Labels.pid }}' +
  '{{ with .Labels.unit }}, {{ . }}{{ end }}){{ end }}.{{ end }}';

/** Template: where the agent on that host tells everything. */
export const WHERE = ' All about it: /api/v1/violations?rule={{ $labels.rule }} on that host.';
