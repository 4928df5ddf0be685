/** PromQL and template text that several alerts share. */

/** Severities that raise an alert of their own; VfioscopeMemoryAtRisk and VfioscopeDmaAtRisk cover critical violations. */
const ALERTING = 'severity=~"warning|error"';

/** Matches without the labels that only series of single objects have, so that sums can replace those. */
const IGNORING_OBJECTS = 'ignoring (device, parent, vm_name)';

/**
 * Ongoing violations: one alert for each device, VM or parent, or one for each rule where objects have
 * no series of their own (`metrics.per_device`, `metrics.max_devices`). Severity, id and
 * the number of the VM are aggregated away, so that it stays the same alert when the severity rises and when the
 * agent restarts.
 */
export function ongoing(rules: readonly string[], severity = ALERTING): string {
  const matchers = `{${ruleMatcher(rules)}${severity}}`;
  return (
    `max without (violation_id, severity, vm) (vfioscope_violation_info${matchers})\n` +
    `or ${IGNORING_OBJECTS} max without (severity) (vfioscope_violations_open${matchers} > 0)`
  );
}

/**
 * One-shot violations of the last minutes, by rule. They are compared by when they happened: a counter that is
 * compared with an earlier sample seems to have grown when that sample is missing, after a scrape that failed.
 */
export function oneShot(rules: readonly string[]): string {
  const series = `vfioscope_last_violation_timestamp_seconds{${ruleMatcher(rules)}${ALERTING}}`;
  return `time() - max without (severity) (${series}) < $one_shot_seconds`;
}

/** Both kinds; a rule with an ongoing violation on the host raises no second alert for its one-shot ones. */
export function ongoingOrOneShot(
  ongoingRules: readonly string[],
  oneShotRules: readonly string[],
): string {
  return `${ongoing(ongoingRules)}\nor ${IGNORING_OBJECTS} (\n${indented(oneShot(oneShotRules))}\n)`;
}

/**
 * Critical violations that the matcher selects, until the host is booted again: the agent keeps them over its restarts. The id is
 * aggregated away, so that it stays the same alert when the violation occurs again.
 */
export function critical(matcher: string): string {
  return `max without (violation_id) (vfioscope_critical_violation_timestamp_seconds{${matcher}}) > 0`;
}

function ruleMatcher(rules: readonly string[]): string {
  return rules.length > 0 ? `rule=~"${rules.join('|')}",` : '';
}

function indented(text: string): string {
  return text.replaceAll(/^/gm, '  ');
}

/** Rules about VMs that are not freed, or whose device points to one that was; ongoing. */
export const VM_LEAKS = ['kvm-ref-leak', 'vm-pinned-by-device', 'kvm-destroyed-while-captured'];

/** Template: words that depend on the label `rule`. @param others by the ids of rules */
export function byRule(usual: string, others: Readonly<Record<string, string>>): string {
  const branches = Object.entries(others).map(
    ([rule, words]) => `if eq $labels.rule "${rule}" }}${words}{{ else `,
  );
  return branches.length > 0 ? `{{ ${branches.join('')}}}${usual}{{ end }}` : usual;
}

/** Template: the object of an ongoing violation, as far as the labels name it, and its host. */
export const OBJECT =
  '{{ or $labels.device $labels.vm_name $labels.parent "an object" }} on {{ $labels.instance }}';

/** Template: the host, and the object if the labels name one. */
export const ON_HOST =
  'on {{ $labels.instance }}{{ with or $labels.device $labels.vm_name $labels.parent }} ({{ . }}){{ end }}';

/** Template: the device or parent, VM and holder that the labels of a critical violation name. */
export const CRITICAL_OBJECT =
  '{{ with or $labels.device $labels.parent }} ({{ . }}){{ end }}' +
  '{{ with $labels.vm_pid }} of the VM {{ or $labels.vm_name $labels.vm_comm }} (pid {{ . }}){{ end }}' +
  '{{ with $labels.holder_pid }}, held by {{ $labels.holder_comm }} (pid {{ . }}' +
  '{{ with $labels.systemd_unit }}, {{ . }}{{ end }}) then{{ end }}';

/** A query within a template, on the host of the alert. @param expr with `%[3]q` for the first of the values */
function asked(expr: string, ...values: readonly string[]): string {
  // All clusters are asked, and hosts of two may share a name.
  const onHost = expr.replaceAll('{', '{cluster=%[1]q,instance=%[2]q,');
  const given = ['$labels.cluster', '$labels.instance', ...values].join(' ');
  // Versions of Prometheus differ in the order of what they find.
  return `printf ${JSON.stringify(onHost)} ${given} | query | sortByLabel "pid"`;
}

/** A VM of vfioscope_vm_info, by what is known best, and its process. */
const VM =
  '{{ or .Labels.vm_name .Labels.systemd_unit .Labels.pod_uid .Labels.container_id .Labels.comm }} (pid {{ .Labels.pid }})';

/** Names the VMs that the query selects, or nothing if they have no series. */
function vms(query: string, before: string, after = ''): string {
  const all = `{{ range $i, $_ := . }}{{ if $i }}, {{ end }}${VM}{{ end }}`;
  return `{{ with ${query} }}${before}${all}${after}{{ end }}`;
}

/** Template: which VMs are zombies, five at most. */
export const ZOMBIES = vms(
  asked('topk(5, vfioscope_vm_info{} and on (vm) vfioscope_vm_state{state="zombie"})'),
  ': ',
);

const VMS_OF_VIOLATION = asked(
  'topk(5, vfioscope_vm_info{} and on (vm) vfioscope_violation_info{rule=%[3]q,device=%[4]q,vm_name=%[5]q})',
  ...['$labels.rule', '$labels.device', '$labels.vm_name'],
);

/** Template: the VM that an ongoing violation is about. VMs without a name share an alert, which names five of them at most. */
export const LEAKED_VM = vms(VMS_OF_VIOLATION, ': ');

/** Template: the same as a sentence. */
export const ITS_VM = vms(VMS_OF_VIOLATION, ' VM: ', '.');

/** The processes that have the device open, open it or close it, after those words. */
function processes(before: string): string {
  return (
    `{{ with ${asked('vfioscope_device_holder_info{device=%[3]q}', '$labels.device')} }}` +
    ` ${before}{{ range . }} {{ .Labels.comm }} (pid {{ .Labels.pid }}` +
    '{{ with .Labels.systemd_unit }}, {{ . }}{{ end }}){{ end }}.{{ end }}'
  );
}

/** Template: the processes that hold the device open. */
export const HOLDERS = processes('It is held open by');

/** Template: the same where a call of one of them may be what does not return. */
export const OPENERS = processes('Processes that open it, have it open or close it:');

/** Template: where the agent on that host shows the violation. */
export const EVIDENCE =
  ' Evidence: GET /api/v1/violations?rule={{ $labels.rule }} on the agent of that host.';
