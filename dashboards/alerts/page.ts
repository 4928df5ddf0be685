/** docs/alerts.md: how to have the rules, and which there are. */
import { wrapped } from '../../src/rules/account.ts';
import type { Alert, AlertGroup } from './alert.ts';
import type { Recording } from './recording.ts';
import { durationWords } from './words.ts';

const HEAD = `<!-- Generated from dashboards/alerts by \`npm run generate\`. Do not edit. -->

# Alerts

[alerts.yml](../dashboards/alerts.yml) has rules for Prometheus that say when a device's life goes
wrong, when devices cannot be made, and when vfioscope cannot see. Each has a runbook.
[recording.yml](../dashboards/recording.yml) has sums of each host for views of many, of which the
dashboard *Fleet* is made; no alert needs them.

## Set it up

\`\`\`yaml
# prometheus.yml
rule_files: [alerts.yml, recording.yml]
scrape_configs:
  - job_name: vfioscope # two of the alerts look for this name
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
receivers: [{ name: pager }, { name: tickets }, { name: nobody }] # give the first two an address
inhibit_rules:
  # Who is being woken for a host need not read the rest as well.
  - source_matchers: ['alertname = VfioscopeMemoryAtRisk']
    target_matchers: ['alertname =~ "Vfioscope.+"', 'severity = warning']
    equal: [instance]
\`\`\`

Prometheus 2.42 and later take them, and so does vmalert with VictoriaMetrics, from 1.79 on; the rulers
of Thanos and Mimir evaluate as Prometheus does, but were not tried.
[alerts.test.yml](../dashboards/alerts.test.yml) has for each alert a case that fires and one that looks
alike and does not: \`promtool test rules alerts.test.yml\` tells whether what you change still does that.

Runbooks take it that the agent listens on 127.0.0.1:10055 and is the systemd unit \`vfioscope\`.
\`runbook_url\` is the path in this repository; give it the address at which your people read it:

\`\`\`sh
sed -i 's,docs/runbooks/,https://wiki.example.org/vfioscope/runbooks/,' alerts.yml
\`\`\`

## What the severities mean

| severity | |
| --- | --- |
| \`critical\` | the kernel may crash: somebody is woken |
| \`warning\` | something is stuck, lost or not seen: somebody looks today |
| \`info\` | worth to be seen beside another alert: nobody is told |

A finding of the agent that is an \`error\` (something is stuck or lost) is a \`warning\` here: guests go on,
and what is lost stays so until the morning.

## What to know

- Labels say which device, VM or parent it is, where these have series of their own
  (\`metrics.per_device\`, \`metrics.max_devices\`); otherwise one alert stands for all of a rule on a host.
  The alert stays the same one when the condition gets worse.
- The name of a process in a description is what that process calls itself.
- While an agent cannot be reached, alerts about its host clear. VfioscopeAgentDown says so.
- The same act of one rule about the same device is one violation, however often it is repeated; alerts
  on acts fire for the first.
- A violation that is there already when Prometheus scrapes an agent for the first time is told as well.`;

export function alertsPage(
  groups: readonly AlertGroup[],
  recordings: readonly Recording[],
): string {
  return [
    HEAD,
    ...groups.flatMap(({ title, about, alerts }) => [
      `## ${title}`,
      wrapped(about, 100).join('\n'),
      alertTable(alerts),
    ]),
    '## Recording rules',
    'Named level:metric:operation; the level names the labels that are left beside those of targets. They are ' +
      'evaluated once a minute. [fleet](fleet.md) tells what they cost, and what many hosts do.',
    table(
      ['name', 'what it is'],
      recordings.map(({ record, help }) => [`\`${record}\``, help]),
    ),
  ]
    .join('\n\n')
    .concat('\n');
}

function alertTable(alerts: readonly Alert[]): string {
  const rows = alerts.map((alert) => [
    `[${alert.name}](runbooks/${alert.name}.md)`,
    alert.severity,
    durationWords(alert.for),
    alert.because,
  ]);
  return table(['alert', 'severity', 'fires', 'why so'], rows);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
