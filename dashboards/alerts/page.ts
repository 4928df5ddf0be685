/** docs/alerts.md: which alerts there are, and how to set them up. */
import { wrapped } from '../../src/engine/description.ts';
import { code, table } from '../../src/markdown.ts';
import type { Alert, AlertGroup } from './alert.ts';
import { firingDelay } from './firing-delay.ts';
import type { Recording } from './recording.ts';

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

\`\`\`yaml
# prometheus.yml
rule_files: [alerts.yml, recording.yml]
scrape_configs:
  - job_name: vfioscope # two of the alerts match this name
    scrape_interval: 15s
    static_configs: [{ targets: ['host1:10055', 'host2:10055'] }]
alerting:
  alertmanagers: [{ static_configs: [{ targets: ['localhost:9093'] }] }]
\`\`\`

\`\`\`yaml
# alertmanager.yml
route:
  receiver: tickets
  group_by: [alertname, instance]
  routes:
    - { matchers: ['severity = critical'], receiver: pager }
    - { matchers: ['severity = info'], receiver: nobody }
receivers: [{ name: pager }, { name: tickets }, { name: nobody }] # configure the first two
inhibit_rules:
  # Whoever is paged for a host does not need its warnings as well.
  - source_matchers: ['alertname = VfioscopeMemoryAtRisk']
    target_matchers: ['alertname =~ "Vfioscope.+"', 'severity = warning']
    equal: [instance]
\`\`\`

The rules need Prometheus 2.42 or later, or vmalert with VictoriaMetrics 1.79 or later. The rulers of Thanos
and Mimir evaluate rules as Prometheus does, but were not tested.

The annotation \`runbook_url\` is a path in this repository. Replace it by the address of your copy:

\`\`\`sh
sed -i 's,docs/runbooks/,https://wiki.example.org/vfioscope/runbooks/,' alerts.yml
\`\`\`

Runbooks assume that the agent listens on 127.0.0.1:10055 and is the systemd unit \`vfioscope\`.

If you change a rule, \`promtool test rules alerts.test.yml\` verifies it:
[alerts.test.yml](../dashboards/alerts.test.yml) contains a case that fires and a similar one that does not
for each alert.

## Behaviour

- **Labels.** An alert names the device, VM or parent where it has series of its own (\`metrics.per_device\`,
  \`metrics.max_devices\`). Otherwise one alert stands for all violations of a rule on a host.
- **Severity changes.** The alert stays the same one when the severity of its violation rises.
- **One-shot violations.** They are never resolved, so their alerts fire for 15 minutes. Repeated one-shot
  violations of one rule and device count as one violation, so the alert fires for the first of them.
- **First scrape.** A violation that exists when Prometheus first scrapes an agent raises its alert as well.
- **Agent down.** While an agent cannot be scraped, the alerts of its host clear and VfioscopeAgentDown fires.
- **Process names.** The name in a description is the one that the process gave itself.`;

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
    RECORDING_RULES,
    table(
      ['name', 'content'],
      recordings.map(({ record, help }) => [code(record), help]),
    ),
  ]
    .join('\n\n')
    .concat('\n');
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
