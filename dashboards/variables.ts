/** What can be chosen at the top of a dashboard. Each narrows those after it. */
import {
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';

/** Of all that is queried: whatever answers PromQL. */
export const SOURCE = { type: 'prometheus', uid: '${datasource}' };

export const datasource = new DatasourceVariableBuilder('datasource')
  .label('Data source')
  .description('Prometheus, or what speaks its language, such as VictoriaMetrics')
  .type('prometheus');

export const traces = new DatasourceVariableBuilder('traces')
  .label('Traces')
  .description('Where the traces are, if there is a Tempo: only the link to the trace needs it')
  .type('tempo');

export const cluster = chosen(
  'cluster',
  'Cluster',
  'The label `cluster` of your targets; All also finds those that have none',
  'label_values(vfioscope_build_info, cluster)',
);

export const host = chosen(
  'host',
  'Host',
  'An agent, by its label `instance`',
  'label_values(vfioscope_build_info{cluster=~"$cluster"}, instance)',
);

export const parent = chosen(
  'parent',
  'Parent',
  'A device that offers mediated devices; All also finds devices lent as a whole',
  'label_values(vfioscope_devices{cluster=~"$cluster", instance=~"$host"}, parent)',
);

export const device = chosen(
  'device',
  'Device',
  'UUID of a mediated device, bus address of others',
  'label_values(vfioscope_device_info{cluster=~"$cluster", instance=~"$host", parent=~"$parent"}, device)',
);

export const vm = chosen(
  'vm',
  'VM',
  'The id that the API uses, until the agent restarts',
  'label_values(vfioscope_vm_info{cluster=~"$cluster", instance=~"$host"}, vm)',
);

/** The same, but one at a time: for a dashboard about one thing. */
export function single(variable: QueryVariableBuilder): QueryVariableBuilder {
  const { name, label, description, query } = variable.build();
  return labelled(name, `${label}`, `${description}`, `${query}`);
}

/** Several at once, or all of them; a pattern for all, because a list of them may be too long. */
function chosen(name: string, label: string, description: string, query: string) {
  return labelled(name, label, description, query)
    .multi(true)
    .includeAll(true)
    .allValue('.*')
    .current({ text: ['All'], value: ['$__all'] });
}

function labelled(name: string, label: string, description: string, query: string) {
  return new QueryVariableBuilder(name)
    .label(label)
    .description(description)
    .datasource(SOURCE)
    .query(query)
    .definition(query)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.NaturalAsc);
}
