/** docs/metrics.md, from the metrics themselves. */
import { code, table } from '../../markdown.ts';
import { OPERATION_MEANINGS } from '../durations.ts';
import { GROUPS } from './catalogue.ts';
import { type Described, type LifeMetricGroup, type MetricGroup, unitOf } from './metric.ts';

/** What the values of a label mean, once for all metrics that have it. */
const LABELS: readonly (readonly [string, string])[] = [
  [
    'comm',
    'the name of a process, which it chooses itself; bytes that are not UTF-8 become `�`, control characters `?`',
  ],
  ['cpu', 'number of a CPU'],
  ['device', 'UUID of a mediated device, bus address of others'],
  ['driver', 'its driver'],
  [
    'errno',
    'name of the error, such as `EBUSY`; `other` for those that these calls are not known to return',
  ],
  ['function', 'the kernel function that is probed'],
  ['group', 'number of the IOMMU group, empty when it has none'],
  ['id', 'of a violation, as in the API and in the log'],
  ['kind', 'of a collection of garbage: `major`, `minor`, `incremental`, `weakcb`'],
  ['le', 'upper bound in seconds'],
  ['major', 'of the version of Node'],
  ['method', 'the kinds of probe, such as `kprobe+kretprobe`'],
  ['minor', 'of the version of Node'],
  ['node', 'version of Node'],
  ['object', '`device`, `vm` or `violation`'],
  ['operation', OPERATION_MEANINGS.map(([name, meaning]) => `\`${name}\`: ${meaning}`).join('; ')],
  [
    'outcome',
    'of what is for a collector: `sent`, `queue_full` (too many waited already), `failed` (the collector did not take it)',
  ],
  ['parent', 'the device that offers mediated devices, empty for devices lent as a whole'],
  ['patch', 'of the version of Node'],
  ['phase', '`begin` or `end` of the call'],
  ['pid', 'process id, as the host sees it'],
  ['point', 'a place in the kernel: see [kernel-support.md](kernel-support.md)'],
  [
    'reason',
    'of a look: `start`, `module`, `loss`, `again`; of a loss: `ring_full`, `probe_missed`, `calls_full`, `unreadable`, `malformed`',
  ],
  ['result', '`ok` or `error`'],
  ['rule', 'id of a rule: see [rules](rules/README.md)'],
  ['severity', '`info`, `warning`, `error`, `critical`'],
  [
    'state',
    'of a device: `creating`, `bound`, `open`, `removing`, `unbound`, `released`, `failed`; of a parent: `registering`, `registered`, `unregistering`; of a VM: `creating`, `running`, `released`, `destroyed`, `failed`',
  ],
  ['signal', '`traces` or `logs`'],
  ['space', 'part of the heap of V8, such as `old`'],
  [
    'type',
    'mdev type, empty for devices lent as a whole; of what Node has under way: its class, such as `Timeout`',
  ],
  ['unit', 'the systemd unit of a process, empty when it has none'],
  ['version', 'of vfioscope; of Node in `nodejs_version_info`'],
  ['vm', 'id of a VM'],
];

export function metricsDocument(): string {
  return [
    '<!-- Generated from src/telemetry/metrics. Do not edit. -->',
    '# Metrics',
    '`/metrics` answers in the text format of Prometheus, and in OpenMetrics 1.0 to those who ask for ' +
      'it, as Prometheus does; compressed for those who take gzip. Names, labels and values are the ' +
      'same in both. Only OpenMetrics has units and exemplars: the trace of a device beside the ' +
      'duration of what was done to it, and beside the count of violations (Prometheus keeps them with ' +
      '`--enable-feature=exemplar-storage`). A header `Accept` that cannot be understood, or that ' +
      'wants neither format, gets the text format.',
    'Only the section about single devices names objects that come and go; all other series are as ' +
      'many on a host with ten devices as on one with ten thousand.',
    ...GROUPS.map(section),
    '## Labels',
    table(
      ['label', 'values'],
      LABELS.map(([name, meaning]) => [code(name), meaning]),
    ),
  ]
    .join('\n\n')
    .concat('\n');
}

function section({ title, about, metrics }: MetricGroup | LifeMetricGroup): string {
  const queries = metrics.map(({ query }) => query).join('\n');
  return [
    `## ${title}`,
    about,
    table(['name', 'type', 'unit', 'labels', 'meaning'], metrics.map(row)),
    `Example queries, one for each of them:\n\n\`\`\`promql\n${queries}\n\`\`\``,
  ].join('\n\n');
}

function row(metric: Described): readonly string[] {
  const { name, type, labels, help } = metric;
  return [code(name), type, unitOf(metric), labels.map(code).join(', '), help];
}
