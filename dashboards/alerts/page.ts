/** docs/alerts.md: which alerts there are, and how to set them up. */
import { stringify } from 'yaml';
import { wrapped } from '../../src/engine/description.ts';
import { code, table } from '../../src/markdown.ts';
import type { Alert, AlertGroup } from './alert.ts';
import { ALERTMANAGER } from './alertmanager.ts';
import { firingDelay } from './firing-delay.ts';
import type { Recording } from './recording.ts';
import { type WithoutUp, withoutUp } from './without-up.ts';

const INTRODUCTION = `<!-- Generated from dashboards/alerts by \`npm run generate\`. Do not edit. -->

# Alerts

[alerts.yml](../dashboards/alerts.yml) contains Prometheus rules that alert on ordering violations of
devices and VMs, on failing and stalled operations, and on an agent that does not observe everything. Each
alert links to a runbook.

| severity | meaning | route it to |
| --- | --- | --- |
| \`critical\` | the kernel may crash | a pager |
| \`warning\` | something is stuck, leaked or not observed | tickets, to be read the same day |
| \`info\` | context for other alerts | nobody |

A violation of severity \`error\` (something is stuck or leaked) raises an alert of severity \`warning\`: guests
run on, and the loss is the same in the morning.`;

const REFERENCE = `## Set-up

The agent listens on \`127.0.0.1:10055\` by default, where only its own host can scrape it. Set \`listen\` first to an
address that Prometheus reaches; [SECURITY.md](../SECURITY.md#the-port) says what everybody who reaches it can read.

\`\`\`yaml
# prometheus.yml
rule_files: [alerts.yml, recording.yml]
scrape_configs:
  - job_name: vfioscope
    scrape_interval: 15s
    static_configs: [{ targets: ['host1:10055', 'host2:10055'], labels: { cluster: east } }]
alerting:
  alertmanagers: [{ static_configs: [{ targets: ['localhost:9093'] }] }]
\`\`\`

\`\`\`yaml
# alertmanager.yml; give the receivers pager and tickets a way to be received
${stringify(ALERTMANAGER, { lineWidth: 100, flowCollectionPadding: false }).trimEnd()}
\`\`\`

Nothing inhibits the alerts of the group *The agent*. A page that is silenced mutes only warnings about the same
device.

The rules run on Prometheus 2.42 and later; both 2.42 and 3.5 are tested. vmalert needs version 1.91 for
\`keep_firing_for\`, or rules that are rendered without it. The rulers of Thanos and Mimir evaluate rules as
Prometheus does, but were not tested.

Job name, cluster label, address of the runbooks and thresholds are settings: [mixin](mixin.md). By default
\`runbook_url\` is a page that an agent serves. Set \`runbook_url_without_agent\` for the alerts that fire when none
answers.

If you change a rule, \`promtool test rules alerts.test.yml\` verifies it:
[alerts.test.yml](../dashboards/alerts.test.yml) contains cases that fire and similar ones that do not for each alert.

## Behaviour

- **Labels.** An alert names the device, VM or parent where it has series of its own (\`metrics.per_device\`,
  \`metrics.max_devices\`). Otherwise one alert stands for all violations of a rule on a host. A critical one always
  names device, VM and the first holder.
- **Names of VMs.** Texts about VMs have the name of the guest, or else its systemd unit, pod, container or
  process, from \`vfioscope_vm_info\`; five VMs at most.
- **Severity changes.** The alert stays the same one when the severity of its violation rises.
- **One-shot violations.** They are never resolved, so their alerts fire for 15 minutes after the latest one.
- **Critical violations.** The agent keeps them in \`state.directory\` over its restarts, so VfioscopeMemoryAtRisk
  and VfioscopeDmaAtRisk fire until the host is booted again. When the host stops answering, VfioscopeHostLost fires.
- **First scrape, gaps.** Alerts compare when something happened with the time, not a counter with its past: what
  happened before Prometheus first scraped an agent raises its alert, and a scrape that fails raises none.
- **Agent down.** While an agent cannot be scraped, the alerts of its host clear and VfioscopeAgentDown fires.
- **Process names.** The name in a description is the one that the process gave itself.`;

const WITHOUT_UP = `## Without the series \`up\`

Prometheus writes \`up\` for each target that it scrapes; one in agent mode and vmagent send it on, unless it is dropped
on the way. Metrics that agents push by OTLP have none, and then no alert says that an agent is down:`;

const MEANINGS: Readonly<Record<WithoutUp, string>> = {
  lost: 'never fires',
  always: 'always fires: leave it out',
  unconditional: 'fires whether the agent answers or not, for a day',
};

const RECORDING_RULES = `## Recording rules

[recording.yml](../dashboards/recording.yml) records sums for each host once a minute. The dashboard *Fleet*
reads them; no alert does. Names are level:metric:operation, where the level names the labels that remain
beside those of the target. [Fleet](fleet.md) says what they cost for many hosts.`;

export function alertsPage(
  groups: readonly AlertGroup[],
  recordings: readonly Recording[],
): string {
  return [
    INTRODUCTION,
    ...groups.flatMap(({ title, description, alerts }) => [
      `## ${title}`,
      wrapped(description, 100).join('\n'),
      alertTable(alerts),
    ]),
    REFERENCE,
    WITHOUT_UP,
    withoutUpTable(
      groups.flatMap(({ alerts }) => alerts),
      recordings,
    ),
    'All others work. Those that ask for an agent that answers, to show their runbook, use `runbook_url_without_agent`.',
    RECORDING_RULES,
    table(
      ['name', 'content'],
      recordings.map(({ record, help }) => [code(record), help]),
    ),
  ]
    .join('\n\n')
    .concat('\n');
}

function withoutUpTable(alerts: readonly Alert[], recordings: readonly Recording[]): string {
  const rows = alerts.flatMap((alert) => {
    const effect = withoutUp(alert, recordings);
    return effect ? [[alert.name, MEANINGS[effect]]] : [];
  });
  return table(['alert', 'without `up`'], rows);
}

/** The runbooks give the reasons for severity and delay; here they would bury the list. */
function alertTable(alerts: readonly Alert[]): string {
  const rows = alerts.map((alert) => [
    `[${alert.name}](runbooks/${alert.name}.md)`,
    alert.severity,
    firingDelay(alert.for),
    alert.runbook.why,
  ]);
  return table(['alert', 'severity', 'fires', 'meaning'], rows);
}
