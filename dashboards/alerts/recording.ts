/**
 * Recording rules: sums for each host, so that a view of many hosts reads a few series of each host
 * instead of all. Names are level:metric:operation; the level names the labels that remain beside
 * those of the target. The Fleet dashboard reads them.
 *
 * Each rule reads the present or the last few minutes: a rule that reads an hour back would read every
 * sample sixty times. `> 0` and `== 0` drop the series that most hosts have at zero.
 */
export interface Recording {
  readonly record: string;
  readonly expr: string;
  /** What the series holds. */
  readonly help: string;
}

/** Seconds between evaluations; graphs of recorded series need no shorter step. */
export const RECORDING_INTERVAL = 60;

export const RECORDINGS: readonly Recording[] = [
  {
    record: 'instance:vfioscope_build_info:max',
    expr: 'max without (version, nodejs_version) (vfioscope_build_info)',
    help: '1 for each agent that answers',
  },
  {
    record: 'cluster:vfioscope_targets:count',
    expr: 'count by (cluster, job) (up)',
    help: 'Targets of the agents, also those that do not answer; the alert VfioscopeTargetsGone compares it with yesterday',
  },
  {
    record: 'state:vfioscope_devices:sum',
    expr: 'sum without (parent, mdev_type) (vfioscope_devices)',
    help: 'Devices of each host, by state',
  },
  {
    record: 'mdev_type:vfioscope_devices:sum',
    expr: 'sum without (parent, state) (vfioscope_devices)',
    help: 'Devices of each host, by mdev type',
  },
  {
    record: 'mdev_type:vfioscope_parent_available_instances:sum',
    expr: 'sum without (parent) (vfioscope_parent_available_instances)',
    help: 'Devices of each mdev type that each host can still create',
  },
  {
    record: 'parent:vfioscope_parent_available_instances:max',
    expr: 'max without (mdev_type) (vfioscope_parent_available_instances)',
    help: 'Devices that each parent can still create, of the mdev type with the most instances left',
  },
  {
    record: 'instance:vfioscope_removals_waiting:sum',
    expr: 'sum without (parent, mdev_type) (vfioscope_removals_waiting)',
    help: 'Devices of each host whose removal waits for their users',
  },
  {
    record: 'severity:vfioscope_violations_open:sum',
    expr: 'sum without (rule) (vfioscope_violations_open)',
    help: 'Open violations of each host, by severity',
  },
  {
    record: 'rule_severity:vfioscope_violations:increase2m',
    expr: 'increase(vfioscope_violations_total[2m]) > 0',
    help: 'Violations that each host raised within two minutes, by rule and severity; absent when there are none',
  },
  {
    record: 'operation:vfioscope_operation_duration_seconds_sum:sum',
    expr: 'sum without (result) (vfioscope_operation_duration_seconds_sum)',
    help: 'Counter: seconds that operations took on each host. A sum of counters is a counter here, because all counters of an agent are reset together',
  },
  {
    record: 'operation:vfioscope_operation_duration_seconds_count:sum',
    expr: 'sum without (result) (vfioscope_operation_duration_seconds_count)',
    help: 'Counter: operations that returned on each host',
  },
  {
    record: 'operation:vfioscope_operation_errors:rate5m',
    expr: 'sum without (errno) (rate(vfioscope_operation_errors_total[5m]))',
    help: 'Operations that failed on each host, per second',
  },
  {
    record: 'instance:vfioscope_events_total:sum',
    expr: 'sum without (point, phase) (vfioscope_events_total)',
    help: 'Counter: events of each host',
  },
  {
    record: 'instance:vfioscope_events_lost_total:sum',
    expr: 'sum without (reason) (vfioscope_events_lost_total)',
    help: 'Counter: lost events of each host',
  },
  {
    record: 'instance:vfioscope_probe_failed:sum',
    expr: 'sum without (point) (vfioscope_probe_failed)',
    help: 'Probe points of each host that failed to attach',
  },
];
