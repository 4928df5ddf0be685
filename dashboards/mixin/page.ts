/** docs/mixin.md: how rules and dashboards are rendered for one's own installation. */
import { code, table } from '../../src/markdown.ts';
import type { Schema } from '../../src/schema.ts';
import { SETTINGS_SCHEMA } from './settings.ts';

export function mixinPage(): string {
  return `<!-- Generated from dashboards/mixin by \`npm run generate\`. Do not edit. -->

# Rules and dashboards for your installation

[dashboards/](../dashboards) has alert rules, recording rules and dashboards for the job \`vfioscope\` and the label
\`cluster\`. Where yours are named otherwise, render them again:

\`\`\`sh
npm run mixin -- --config mixin.yaml --output rendered/
\`\`\`

\`rendered/\` then has \`alerts.yml\`, \`recording.yml\` and a JSON file for each dashboard. A wrong setting is reported with
its file and line. For a PodMonitor in the namespace \`monitoring\`, with runbooks in a wiki:

\`\`\`yaml
# mixin.yaml
selector: job="monitoring/vfioscope"
cluster_label: k8s_cluster
runbook_url: https://wiki.example.org/vfioscope/runbooks/{alert}
thresholds:
  fleet_share: 0.1
\`\`\`

${table(['setting', 'default', 'meaning'], rows(SETTINGS_SCHEMA))}

By default \`runbook_url\` leads to the page that the agent itself serves under \`/docs/runbooks/\`, in the version that runs
there. Alerts about an agent that does not answer, and those about a fleet, lead to an agent that does. For alerts
about several rules, the address ends in \`#RULE\`, which is the place of that rule on the page.
`;
}

function rows(schema: Schema, prefix = ''): string[][] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, one]) =>
    one.properties
      ? rows(one, `${prefix}${name}.`)
      : [[code(prefix + name), code(`${one.default}`), `${one.description}`]],
  );
}
