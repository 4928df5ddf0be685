/** docs/mixin.md: how rules and dashboards are rendered for one's own installation. */
import { code, table } from '../../src/markdown.ts';
import type { Schema } from '../../src/schema.ts';
import { SETTINGS_SCHEMA } from './settings.ts';

export function mixinPage(): string {
  return `<!-- Generated from dashboards/mixin by \`npm run generate\`. Do not edit. -->

# Rules and dashboards for your installation

[dashboards/](../dashboards) has alert rules, recording rules and dashboards for the job \`vfioscope\` and the label
\`cluster\`. Agents listen on \`127.0.0.1:10055\` by default: set \`listen\` first to an address that Prometheus reaches
([the port](../SECURITY.md#the-port)). Where job or label are named otherwise, render them again:

\`\`\`sh
npm run mixin -- --config mixin.yaml --output rendered/
\`\`\`

\`rendered/\` then has \`alerts.yml\`, \`recording.yml\` and a JSON file for each dashboard. A wrong setting is reported with
its file and line. For a PodMonitor in the namespace \`monitoring\`, with a copy of the runbooks in a wiki for when no agent answers:

\`\`\`yaml
# mixin.yaml
selector: job="monitoring/vfioscope"
cluster_label: k8s_cluster
runbook_url_without_agent: https://wiki.example.org/vfioscope/runbooks/{alert}
thresholds:
  fleet_share: 0.1
\`\`\`

${table(['setting', 'default', 'meaning'], rows(SETTINGS_SCHEMA))}

By default \`runbook_url\` leads to the page that the agent itself serves under \`/docs/runbooks/\`, in the version that runs
there. Alerts about an agent that does not answer, and those about a fleet, lead to an agent that does. While no agent
answers at all, as when VfioscopeAgentsAbsent fires, they lead to \`runbook_url_without_agent\`: set it, because vfioscope
has no published address that could be its default. With a \`runbook_url\` without \`{instance}\`, all alerts lead there,
and \`runbook_url_without_agent\` is not used.
`;
}

function rows(schema: Schema, prefix = ''): string[][] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, one]) =>
    one.properties
      ? rows(one, `${prefix}${name}.`)
      : [[code(prefix + name), code(`${one.default}`), `${one.description}`]],
  );
}
