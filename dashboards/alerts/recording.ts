/**
 * Recording rules: sums over each host, so that a view of many hosts reads some series of each instead
 * of all. Names are level:metric:operation; the level names the labels that are left, beside those
 * that targets have. The Fleet dashboard is made of them.
 *
 * Each looks at the present or a few minutes back: a rule that looks back an hour reads every sample
 * sixty times. `> 0` and `== 0` leave out what most hosts have nothing of.
 */
export interface Recording {
  readonly record: string;
  readonly expr: string;
  /** What it is for. */
  readonly help: string;
}

/** Seconds between evaluations: graphs of what is recorded need not ask more often. */
export const RECORDED_EVERY = 60;

export const RECORDINGS: readonly Recording[] = [
  {
    record: 'instance:vfioscope_build_info:max',
    expr: 'max without (version, node) (vfioscope_build_info)',
    help: 'Always 1; agents that answer',
  },
  {
    record: 'state:vfioscope_devices:sum',
    expr: 'sum without (parent, type) (vfioscope_devices)',
    help: 'Devices of a host by state',
  },
  {
    record: 'type:vfioscope_devices:sum',
    expr: 'sum without (parent, state) (vfioscope_devices)',
    help: 'Devices of a host by type',
  },
  {
    record: 'type:vfioscope_parent_available_instances:sum',
    expr: 'sum without (parent) (vfioscope_parent_available_instances)',
    help: 'How many more devices of a type a host can give',
  },
  {
    record: 'parent:vfioscope_parent_available_instances:max',
    expr: 'max without (type) (vfioscope_parent_available_instances)',
    help: 'How many more devices a parent can give, of the type of which it can give most',
  },
  {
    record: 'instance:vfioscope_devices_waiting:sum',
    expr: 'sum without (parent, type) (vfioscope_devices_waiting)',
    help: 'Devices of a host whose removal waits',
  },
  {
    record: 'severity:vfioscope_violations_open:sum',
    expr: 'sum without (rule) (vfioscope_violations_open)',
    help: 'Conditions of a host that last, by severity',
  },
  {
    record: 'rule_severity:vfioscope_violations:increase2m',
    expr: 'increase(vfioscope_violations_total[2m]) > 0',
    help: 'Violations of a host within two minutes, where there are any',
  },
  {
    record: 'operation:vfioscope_operation_duration_seconds_sum:sum',
    expr: 'sum without (result) (vfioscope_operation_duration_seconds_sum)',
    help: 'A counter, as all of an agent begins anew at once: seconds that operations took',
  },
  {
    record: 'operation:vfioscope_operation_duration_seconds_count:sum',
    expr: 'sum without (result) (vfioscope_operation_duration_seconds_count)',
    help: 'and how many there were',
  },
  {
    record: 'operation:vfioscope_operation_errors:rate5m',
    expr: 'sum without (errno) (rate(vfioscope_operation_errors_total[5m]))',
    help: 'Operations of a host that fail, a second',
  },
  {
    record: 'instance:vfioscope_events_total:sum',
    expr: 'sum without (point, phase) (vfioscope_events_total)',
    help: 'A counter as well: events of a host',
  },
  {
    record: 'instance:vfioscope_events_lost_total:sum',
    expr: 'sum without (reason) (vfioscope_events_lost_total)',
    help: 'A counter as well: events of a host that were lost',
  },
  {
    record: 'instance:vfioscope_probe_attached:unwatched',
    expr: 'count without (point, function, method) (vfioscope_probe_attached == 0)',
    help: 'Points of a host that are not watched, where there are any',
  },
  {
    record: 'instance:vfioscope_probe_failed:sum',
    expr: 'sum without (point) (vfioscope_probe_failed)',
    help: 'Points of a host that cannot be watched',
  },
];
