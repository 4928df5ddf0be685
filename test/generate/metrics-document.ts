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
  ['component', 'part of the agent: `rule` or `http`'],
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
    'of the export to a collector: `sent`, `queue_full` (dropped because the queue was full), `failed` (the collector was unreachable or refused it)',
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
  ['signal', '`traces` or `logs`'],
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
    ...GROUPS.map(section),
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
