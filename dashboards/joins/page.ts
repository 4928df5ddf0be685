/** docs/joins.md, from the tested joins. */
import { JOINS } from './catalogue.ts';

export function joinsPage(): string {
  const exporters = [...new Set(JOINS.map(({ exporter }) => exporter))];
  return [
    '<!-- Generated from dashboards/joins. Do not edit. -->',
    '# Joins with other exporters',
    'Queries that join [vfioscope’s series](metrics.md) with those of other exporters. A test runs each of them on ' +
      'sample series.',
    'The label `vm` is a number of one run of one agent. The labels of `vfioscope_vm_info` lead to what others call the ' +
      'VM: `vm_name`, `vm_uuid`, `systemd_unit`, `container_id`, `pod_uid`. Those of `vfioscope_device_info` lead to ' +
      'the hardware. A label that is not known is empty, so exclude the empty value where it is the key of the ' +
      'side of a join that has one series.',
    '## One label for the host',
    'All targets of a host need a label with the same value: `instance` has the port of the exporter in it. The queries ' +
      'here call it `node`, as Kubernetes does. Add to each job of hosts:',
    `\`\`\`yaml
relabel_configs:
  - source_labels: [__address__]
    regex: '(.+):\\d+'
    target_label: node
\`\`\``,
    'In Kubernetes take `__meta_kubernetes_pod_node_name` as `source_labels`, without `regex`. UUIDs and names alone are no ' +
      'key: while a VM is migrated, two hosts have it.',
    ...exporters.flatMap((exporter) => [
      `## ${exporter}`,
      ...JOINS.filter((join) => join.exporter === exporter).flatMap(
        ({ question, because, expr }) => [
          `**${question}** ${because}`,
          `\`\`\`promql\n${expr}\n\`\`\``,
        ],
      ),
    ]),
  ]
    .join('\n\n')
    .concat('\n');
}
