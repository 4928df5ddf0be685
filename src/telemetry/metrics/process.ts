/** Metrics of the process and of Node.js as prom-client measures them, under the names that other exporters use. */
import {
  Counter,
  collectDefaultMetrics,
  Histogram,
  type MetricValueWithName,
  Registry,
} from 'prom-client';
import type { Metric, MetricGroup } from './metric.ts';
import { boundText, type Samples } from './samples.ts';

/** One registry for all scrapes and formats: values are read from it, and it is never written out. */
export const MEASURED = new Registry();

/**
 * ms; the longest period of a timer, which means never. By default the timer would wake an idle agent
 * 100 times a second, and count the time that it slept as lag.
 */
const NEVER = 2 ** 31 - 1;
collectDefaultMetrics({ register: MEASURED, eventLoopMonitoringPrecision: NEVER });

interface Row {
  readonly labels?: readonly string[];
  readonly query: string;
  /** Replaces the help of prom-client where that is not precise enough. */
  readonly help?: string;
}

const ROWS: Readonly<Record<string, Row>> = {
  process_cpu_user_seconds_total: { query: 'rate(process_cpu_user_seconds_total[5m])' },
  process_cpu_system_seconds_total: { query: 'rate(process_cpu_system_seconds_total[5m])' },
  process_cpu_seconds_total: { query: 'rate(process_cpu_seconds_total[5m])' },
  process_start_time_seconds: { query: 'time() - process_start_time_seconds' },
  process_resident_memory_bytes: { query: 'process_resident_memory_bytes' },
  process_virtual_memory_bytes: { query: 'process_virtual_memory_bytes' },
  process_heap_bytes: { query: 'process_heap_bytes' },
  process_open_fds: { query: 'process_open_fds / process_max_fds > 0.8' },
  process_max_fds: { query: 'process_max_fds' },
  nodejs_eventloop_lag_seconds: {
    query: 'max_over_time(nodejs_eventloop_lag_seconds[1h])',
    help: 'Delay of the event loop during the previous scrape',
  },
  nodejs_active_resources: {
    labels: ['type'],
    query: 'sum by (instance, type) (nodejs_active_resources)',
  },
  nodejs_active_handles: {
    labels: ['type'],
    query: 'sum by (instance, type) (nodejs_active_handles)',
  },
  nodejs_active_requests: {
    labels: ['type'],
    query: 'sum by (instance, type) (nodejs_active_requests)',
  },
  nodejs_heap_size_total_bytes: { query: 'nodejs_heap_size_total_bytes' },
  nodejs_heap_size_used_bytes: { query: 'nodejs_heap_size_used_bytes' },
  nodejs_external_memory_bytes: { query: 'nodejs_external_memory_bytes' },
  nodejs_heap_space_size_total_bytes: {
    labels: ['space'],
    query: 'sum by (instance, space) (nodejs_heap_space_size_total_bytes)',
  },
  nodejs_heap_space_size_used_bytes: {
    labels: ['space'],
    query: 'nodejs_heap_space_size_used_bytes{space="old"}',
  },
  nodejs_heap_space_size_available_bytes: {
    labels: ['space'],
    query: 'nodejs_heap_space_size_available_bytes{space="old"}',
  },
  nodejs_version_info: {
    labels: ['version', 'major', 'minor', 'patch'],
    query: 'count by (version) (nodejs_version_info)',
  },
  nodejs_gc_duration_seconds: {
    labels: ['kind'],
    query: 'sum by (instance, kind) (rate(nodejs_gc_duration_seconds_sum[5m]))',
    help: 'Duration of garbage collections, by kind; of several in one turn of the event loop only the first is counted',
  },
};

/** Metrics of prom-client that are left out, and why. */
export const LEFT_OUT = [
  // These need the timer.
  ...['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99'].map(
    (which) => `nodejs_eventloop_lag_${which}_seconds`,
  ),
  // These are gauges with the name of a counter: sums of the series with a label.
  'nodejs_active_resources_total',
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
];

export const PROCESS: MetricGroup = {
  title: 'The process and Node.js',
  about:
    'As measured by prom-client; `metrics.process: false` leaves only `process_start_time_seconds`. CPU time is counted from the time when the probes are attached. ' +
    '`nodejs_eventloop_busy_seconds_total` and `vfioscope_reader_lag_seconds` show whether the agent ' +
    'keeps up. Two families of prom-client are left out: those that need a timer ' +
    '(`nodejs_eventloop_lag_min_seconds` to `nodejs_eventloop_lag_p99_seconds`: it would wake an ' +
    'idle agent 100 times a second), and the sums of `nodejs_active_*`, which end in `_total` ' +
    'although they are not counters.',
  metrics: [
    ...MEASURED.getMetricsAsArray()
      .filter(({ name }) => name in ROWS)
      .map(({ name, help }) => row(name, help)),
    {
      name: 'nodejs_eventloop_busy_seconds_total',
      type: 'counter',
      labels: [],
      help: 'Time for which the event loop was not idle; its rate is the utilisation',
      query: 'rate(nodejs_eventloop_busy_seconds_total[5m])',
      collect(_scrape, samples) {
        samples.show(performance.eventLoopUtilization().active / 1e3);
      },
    },
  ],
};

/** What is left of these with `metrics.process: false`: alerts see restarts by it. */
export const START_TIME: MetricGroup = {
  ...PROCESS,
  metrics: PROCESS.metrics.filter(({ name }) => name === 'process_start_time_seconds'),
};

function row(name: string, theirs: string): Metric {
  const { labels = [], query, help = theirs.replace(/\.$/, '') } = ROWS[name];
  return {
    ...{ name, type: typeOf(name), labels, help, query },
    collect: (_scrape, samples) => read(name, labels, samples),
  };
}

function typeOf(name: string): Metric['type'] {
  const metric = MEASURED.getSingleMetric(name);
  if (metric instanceof Counter) return 'counter';
  return metric instanceof Histogram ? 'histogram' : 'gauge';
}

/** Must be called in the order of the registry: some metrics are measured when an earlier one is read. */
async function read(name: string, labels: readonly string[], samples: Samples): Promise<void> {
  const metric = await MEASURED.getSingleMetric(name)?.get();
  const values: readonly MetricValueWithName<string>[] = metric?.values ?? [];
  for (const { metricName = name, labels: own, value } of values) {
    const texts = labels.map((label) => `${own[label]}`);
    const suffix = metricName.slice(name.length);
    if (suffix === '_bucket') {
      samples.part(suffix, value, [...texts, boundText(Number(own.le))]);
    } else if (suffix === '_sum' || suffix === '_count') samples.part(suffix, value, texts);
    else samples.show(value, texts);
  }
}
