/** docs/metrics.md, from the metrics themselves. */

import { OPERATIONS } from '../../src/lifecycle/operations.ts';
import { code, table } from '../../src/markdown.ts';
import { OPERATION_MEANINGS } from '../../src/telemetry/durations.ts';
import { GROUPS } from '../../src/telemetry/metrics/catalogue.ts';
import {
  type Described,
  type MetricGroup,
  type ObjectMetricGroup,
  unitOf,
} from '../../src/telemetry/metrics/metric.ts';

/** The values of each label, described once for all metrics that have it. */
const LABELS: readonly (readonly [string, string])[] = [
  ['budget', '`probes` (run time in the kernel) or `agent` (CPU time of the process)'],
  [
    'comm',
    'the name of a process, which it chooses itself; bytes that are not UTF-8 become `�`, control characters `?`',
  ],
  ['code', 'an error code: see [errors.md](errors.md)'],
  ['component', 'part of the agent: `rule`, `http` or `otlp`'],
  ['container_id', 'id of the container of the process, empty if it is in none'],
  ['cpu', 'number of a CPU'],
  ['device', 'UUID of a mediated device, bus address of any other device'],
  ['device_id', 'PCI device id of the device or its parent, such as `0x2236`; empty if it is none'],
  ['driver', 'driver of the device'],
  [
    'errno',
    'name of the error, such as `EBUSY`; `other` for errors that these calls are not known to return',
  ],
  ['function', 'the kernel function that is probed'],
  ['holder_comm', 'name of the process that held it, as `comm`; empty if none was known'],
  ['holder_pid', 'its process id'],
  ['iommu_group', 'number of the IOMMU group, empty if the device has none'],
  ['kind', 'kind of garbage collection: `major`, `minor`, `incremental`, `weakcb`'],
  ['le', 'upper bound of the bucket in seconds'],
  ['major', 'major version of Node.js'],
  ['mdev_type', 'type of a mediated device, empty for devices assigned as a whole'],
  ['method', 'kinds of probe, such as `kprobe+kretprobe`'],
  ['minor', 'minor version of Node.js'],
  ['nodejs_version', 'version of Node.js'],
  ['numa_node', 'NUMA node of the device or its parent, empty if the machine does not say'],
  ['object', '`device`, `vm` or `violation`'],
  ['operation', operationValues()],
  [
    'outcome',
    'of the export to a collector: `sent`, `queue_full` (dropped because the queue was full, or an earlier request with metrics had not ended), `failed` (the collector was unreachable or refused it)',
  ],
  ['parent', 'parent of a mediated device, empty for devices assigned as a whole'],
  ['patch', 'patch version of Node.js'],
  ['phase', '`begin` or `end` of the call'],
  [
    'pci_bus_id',
    'PCI address of the device or its parent as GPU exporters write it, `00000000:3B:00.0`; of a virtual function, that of its physical function',
  ],
  [
    'physical_function',
    'PCI address of the physical function, empty unless the device or its parent is a virtual function (SR-IOV)',
  ],
  ['pid', 'process id in the namespace of the host'],
  ['point', 'a point of the kernel that is watched: see [kernel-support.md](kernel-support.md)'],
  ['pod_uid', 'UID of the Kubernetes pod of the process, empty if it is in none'],
  [
    'reason',
    'of a host snapshot: `start`, `module` (a module was loaded), `loss` (events were lost), `recheck` (a second snapshot some seconds later), `restored` (points were attached again that had been over the budget); of a loss: `ring_full`, `probe_missed`, `calls_full`, `unreadable`, `malformed`',
  ],
  ['result', '`ok` or `error`'],
  ['rule', 'id of a rule: see [rules](rules/README.md)'],
  ['severity', '`info`, `warning`, `error`, `critical`'],
  [
    'state',
    'of a device: `creating`, `binding`, `bound`, `opening`, `open`, `closing`, `removing`, `removed`, `unbound`, `released`, `failed`; of a parent: `registering`, `registered`, `unregistering`; of a VM: `creating`, `running`, `zombie`, `destroying`, `destroyed`, `failed`',
  ],
  ['signal', '`traces`, `logs` or `metrics`'],
  ['space', 'heap space of V8, such as `old`'],
  ['systemd_unit', 'systemd unit of the process, empty if it has none'],
  [
    'trace_id',
    'id of the trace of the lifecycle ([traces](traces.md)): of the object, unlike `vm`, the same after a restart of the agent',
  ],
  ['type', 'class of an active resource, handle or request of Node.js, such as `Timeout`'],
  ['vendor_id', 'PCI vendor id of the device or its parent, such as `0x10de`; empty if it is none'],
  ['version', 'version of vfioscope; of Node.js in `nodejs_version_info`'],
  ['violation_id', 'id of the violation in the API and in the log'],
  ['vm', 'id of a VM in the API'],
  ['vm_comm', 'name of the process that created the VM, as `comm`'],
  ['vm_name', 'name of the guest, empty if it is not known'],
  ['vm_pid', 'process id of the process that created the VM'],
  ['vm_uuid', 'UUID of the guest, empty if it is not known'],
];

const OVER_OTLP = `Where no Prometheus can reach the host, the agent sends the same metrics, read from the same rows:

\`\`\`yaml
otel:
  OTEL_EXPORTER_OTLP_ENDPOINT: http://collector.example:4318
  OTEL_METRICS_EXPORTER: otlp
  OTEL_METRIC_EXPORT_INTERVAL: 60000
  OTEL_RESOURCE_ATTRIBUTES: service.instance.id=host1:10055
\`\`\`

They are sent only if \`OTEL_METRICS_EXPORTER\` is \`otlp\` or there is an \`OTEL_EXPORTER_OTLP_METRICS_ENDPOINT\`: an
endpoint for all signals alone sends traces and log records, because most hosts are scraped. All
[variables](traces.md#settings) are those of OpenTelemetry. \`/metrics\` does not change, and neither way to read affects
the other.

By OpenTelemetry's rules for Prometheus the names there are without the suffixes of type and unit, and whoever shows
them to Prometheus adds these again: the names, labels and values are then those of this page. A test sends them
through a real collector to OpenTelemetry's exporter for Prometheus and compares both.

| here | over OTLP |
| --- | --- |
| counter \`vfioscope_events_total\` | \`vfioscope_events\`, monotonic cumulative sum |
| counter \`process_cpu_seconds_total\` | \`process_cpu\`, unit \`s\` |
| gauge \`vfioscope_ring_size_bytes\` | \`vfioscope_ring_size\`, unit \`By\` |
| gauge \`vfioscope_budget_used_ratio\` | \`vfioscope_budget_used\`, unit \`1\` |
| gauge \`vfioscope_device_info\`, \`vfioscope_device_state\` | the same name; gauges, as here |
| histogram \`vfioscope_operation_duration_seconds\` | \`vfioscope_operation_duration\`, unit \`s\`, explicit bounds |
| \`_created\` | the start time of sums and histograms: that of the agent, and none where pinned probes may have counted before |

What differs:

- **\`vfioscope_scrape_duration_seconds\`** is a histogram without bounds, because the SDK has no summaries: there is a
  \`_bucket{le="+Inf"}\` more.
- **There are no exemplars**: the SDK for JavaScript has none.
- **\`job\` and \`instance\`** are \`service.name\` and \`service.instance.id\`, which is random for each run of the agent unless
  \`OTEL_RESOURCE_ATTRIBUTES\` sets it, as above: set it, so that series continue after a restart. Host and versions are
  in \`target_info\`. Exporters may add \`otel_scope_…\` labels.
- **There is no \`up\`**: alerts about agents that do not answer need a scrape. What ends is marked as ended by a
  scrape at once, and over OTLP when the receiver takes it for stale.
- An empty label is left out, which is the same to Prometheus.
- Values are always cumulative: \`OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE\` changes nothing.`;

export function metricsDocument(): string {
  return [
    '<!-- Generated from src/telemetry/metrics. Do not edit. -->',
    '# Metrics',
    'All metrics of `/metrics`, with example queries; the values of the labels are at the end. ' +
      '[Alerts](alerts.md) and [dashboards](dashboards.md) are built on them; [joins](joins.md) lead to the names that ' +
      'other exporters have for a VM or a device.',
    'The number of series depends on the number of devices only in the section ' +
      '[Single devices, VMs and violations](#single-devices-vms-and-violations); all other series are ' +
      'as many on a host with ten devices as on one with ten thousand.',
    '`/metrics` is served in the text format of Prometheus, or in OpenMetrics 1.0 if the header `Accept` ' +
      'asks for it, as Prometheus does; with gzip if the client accepts it. Names, labels and values ' +
      'are the same in both formats. Only OpenMetrics has units and exemplars, which link durations ' +
      'of operations and counts of violations to the trace of the device (Prometheus stores them with ' +
      '`--enable-feature=exemplar-storage`).',
    'They can also be sent to an OpenTelemetry collector: [Over OTLP](#over-otlp).',
    ...GROUPS.map(section),
    '## Over OTLP',
    OVER_OTLP,
    '## Labels',
    table(
      ['label', 'values'],
      LABELS.map(([name, description]) => [code(name), description]),
    ),
  ]
    .join('\n\n')
    .concat('\n');
}

/** Those in progress have more names than those that are timed, and one description where both have it. */
function operationValues(): string {
  const meanings = new Map<string, string>(OPERATION_MEANINGS);
  for (const { name, description } of OPERATIONS) {
    if (!meanings.has(name)) meanings.set(name, description);
  }
  return [...meanings].map(([name, meaning]) => `\`${name}\`: ${meaning}`).join('; ');
}

function section({ title, about, metrics }: MetricGroup | ObjectMetricGroup): string {
  const queries = metrics.map(({ query }) => query).join('\n');
  return [
    `## ${title}`,
    about,
    table(['name', 'type', 'unit', 'labels', 'description'], metrics.map(row)),
    `Example queries, one per metric:\n\n\`\`\`promql\n${queries}\n\`\`\``,
  ].join('\n\n');
}

function row(metric: Described): readonly string[] {
  const { name, type, labels, help } = metric;
  return [code(name), type, unitOf(metric), labels.map(code).join(', '), help];
}
