/** The variables at the top of the dashboards. Each restricts the values of those after it. */
import {
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { ofHost } from './promql.ts';

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
  `label_values(${ofHost.selector('vfioscope_devices')}, parent)`,
);

export const device = multiple(
  'device',
  'Device',
  'The UUID of a mediated device, or the bus address of another device',
  `label_values(${ofHost.selector('vfioscope_device_info', 'parent=~"$parent"')}, device)`,
);

/** The same variable without multiple selection, for a dashboard of a single host or device, which opens with the first. */
export function single(variable: QueryVariableBuilder): QueryVariableBuilder {
  const { name, label, description, query } = variable.build();
  return labelled(name, `${label}`, `${description}`, `${query}`);
}

/**
 * A VM of the host. The list shows by what people know it, and typing searches all of that; its value is the
 * id in the API, by which all series of the VM are selected.
 */
export const vm = labelled(
  'vm',
  'VM',
  'A VM by its name, as far as it is known, and the command and process that created it; the id in the API at the end changes with a restart of the agent',
  `query_result(label_join(max by (vm, vm_name, pid, comm) (last_over_time(${ofHost.selector('vfioscope_vm_info')}[$__range])), "shown", " ", "vm_name", "comm", "pid", "vm"))`,
).regex('/shown=" ?(?<text>[^"]+)|\\bvm="(?<value>[^"]+)/g');

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
