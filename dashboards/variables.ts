/** The variables at the top of the dashboards. Each restricts the values of those after it. */
import {
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';

/** The data source of all queries: any that supports PromQL. */
export const SOURCE = { type: 'prometheus', uid: '${datasource}' };

export const datasource = new DatasourceVariableBuilder('datasource')
  .label('Data source')
  .description('Prometheus, or a data source that supports PromQL, such as VictoriaMetrics')
  .type('prometheus');

export const traces = new DatasourceVariableBuilder('traces')
  .label('Traces')
  .description(
    'The Tempo that stores the traces, if there is one; only the link to the trace needs it',
  )
  .type('tempo');

export const cluster = multiple(
  'cluster',
  'Cluster',
  'The label `cluster` of the scrape targets; All includes targets without it',
  'label_values(vfioscope_build_info, cluster)',
);

export const host = multiple(
  'host',
  'Host',
  'The label `instance` of the agent',
  'label_values(vfioscope_build_info{cluster=~"$cluster"}, instance)',
);

export const parent = multiple(
  'parent',
  'Parent',
  'A parent of mediated devices; All includes devices that are passed through as a whole',
  'label_values(vfioscope_devices{cluster=~"$cluster", instance=~"$host"}, parent)',
);

export const device = multiple(
  'device',
  'Device',
  'The UUID of a mediated device, or the bus address of another device',
  'label_values(vfioscope_device_info{cluster=~"$cluster", instance=~"$host", parent=~"$parent"}, device)',
);

export const vm = multiple(
  'vm',
  'VM',
  'The id of the VM in the API; a restart of the agent changes it',
  'label_values(vfioscope_vm_info{cluster=~"$cluster", instance=~"$host"}, vm)',
);

/** The same variable without multiple selection, for a dashboard of a single host or device. */
export function single(variable: QueryVariableBuilder): QueryVariableBuilder {
  const { name, label, description, query } = variable.build();
  return labelled(name, `${label}`, `${description}`, `${query}`);
}

/** Multiple selection; All is a pattern, because a list of all values may be too long for a query. */
function multiple(name: string, label: string, description: string, query: string) {
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
