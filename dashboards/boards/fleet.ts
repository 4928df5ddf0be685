/**
 * All hosts at once: only sums, recorded where a host has many series of what is summed up, so that it
 * stays cheap however many devices and hosts there are.
 */
import { RECORDED_EVERY } from '../alerts/recording.ts';
import { type Board, toBoard } from '../board.ts';
import { DEVICE_STATES, SEVERITIES } from '../colours.ts';
import { graph, stat, table } from '../panels.ts';
import { grown, grownFromNothing, HOST, of, sum } from '../promql.ts';
import { cluster, host } from '../variables.ts';

const toHost = { name: 'Host', link: toBoard('host', 'This host', { host: 'Host' }) };
const toAgent = { name: 'Host', link: toBoard('agent', 'Its agent', { host: 'Host' }) };

const seen = `max by (${HOST}) (max_over_time(${of('instance:vfioscope_build_info:max')}[$__range]))`;
const answering = `max by (${HOST}) (${of('vfioscope_build_info')})`;
const unwatched = of('instance:vfioscope_probe_attached:unwatched');
const lost = `sum by (${HOST}) (${grown('instance:vfioscope_events_lost_total:sum')}) > 0`;
const violations = 'rule_severity:vfioscope_violations:increase2m';
const slow = (calls: string) =>
  `sum by (${HOST}, operation) (${grown(`operation:vfioscope_operation_duration_seconds_${calls}:sum`)})`;

export const FLEET: Board = {
  name: 'fleet',
  title: 'Fleet',
  description: 'All hosts: what they lend, where the order broke, and which of them cannot tell.',
  variables: [cluster, host],
  marks: sum('rule, severity', of(violations, 'severity=~"error|critical"')),
  rows: {
    'What there is': [
      stat({
        title: 'Hosts',
        description: 'Agents that answer.',
        unit: 'none',
        width: 3,
        expr: `count(${answering})`,
      }),
      stat({
        title: 'Silent hosts',
        description:
          'Agents that answered in the time shown and do not now. Nothing is known of their hosts.',
        unit: 'none',
        width: 3,
        thresholds: [[1, 'red']],
        none: '0',
        expr: `count(${seen} unless ${answering})`,
      }),
      stat({
        title: 'Devices',
        description: 'Mediated devices, and devices lent as a whole, that are alive.',
        unit: 'none',
        width: 3,
        expr: sum('', of('state:vfioscope_devices:sum')),
      }),
      stat({
        title: 'Removals that wait',
        description: 'Devices whose removal has begun and waits for those who have them open.',
        unit: 'none',
        width: 3,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: sum('', of('vfioscope_devices_waiting')),
      }),
      stat({
        title: 'VMs',
        description: 'VMs that KVM knows.',
        unit: 'none',
        width: 3,
        expr: sum('', of('vfioscope_vms')),
      }),
      stat({
        title: 'Released VMs',
        description: 'VMs whose last file descriptor is closed, and that something keeps alive.',
        unit: 'none',
        width: 3,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: sum('', of('vfioscope_vms', 'state="released"')),
      }),
      stat({
        title: 'Open violations',
        description: 'Conditions that last and break the order, from warning upwards.',
        unit: 'none',
        width: 3,
        thresholds: [[1, 'red']],
        none: '0',
        expr: sum('', of('vfioscope_violations_open', 'severity!="info"')),
      }),
      stat({
        title: 'Blind hosts',
        description:
          'They cannot tell all: their agents miss a probe, or have lost events in the time shown.',
        unit: 'none',
        width: 3,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: `count(sum by (${HOST}) (${unwatched}) or ${lost})`,
      }),
      graph({
        title: 'Devices by state',
        description: 'Many in one state that passes by itself, such as creating or removing, hang.',
        unit: 'none',
        width: 12,
        stacked: true,
        colours: DEVICE_STATES,
        queries: [{ expr: sum('state', of('state:vfioscope_devices:sum')), legend: '{{state}}' }],
      }),
      graph({
        title: 'Operations that failed',
        description: 'By the error that the kernel returned.',
        unit: 'none',
        width: 12,
        queries: [
          {
            expr: sum(
              'operation, errno',
              grownFromNothing('$__rate_interval', 'vfioscope_operation_errors_total'),
            ),
            legend: '{{operation}} {{errno}}',
          },
        ],
      }),
    ],
    'Where the order broke': [
      graph({
        title: 'Violations raised',
        description:
          'What happened in the wrong order within two minutes, by rule. docs/rules says what each means.',
        unit: 'none',
        width: 12,
        queries: [
          {
            expr: sum('rule', `max_over_time(${of(violations)}[$__interval])`),
            legend: '{{rule}}',
            every: RECORDED_EVERY,
          },
        ],
      }),
      graph({
        title: 'Open violations by severity',
        description: 'Conditions that last, until they are resolved.',
        unit: 'none',
        width: 12,
        stacked: true,
        colours: SEVERITIES,
        queries: [
          { expr: sum('severity', of('vfioscope_violations_open')), legend: '{{severity}}' },
        ],
      }),
      table({
        title: 'Hosts with open violations',
        description: 'The 20 with the most. The host tells which devices and who holds them.',
        width: 12,
        worst: 'Open',
        labels: {
          cluster: { name: 'Cluster' },
          instance: toHost,
          rule: { name: 'Rule' },
          severity: { name: 'Severity', colours: SEVERITIES },
        },
        values: [
          {
            name: 'Open',
            unit: 'none',
            expr: `topk(20, sum by (${HOST}, rule, severity) (${of('vfioscope_violations_open')}) > 0)`,
          },
        ],
      }),
      table({
        title: 'Slowest operations',
        description:
          'The 20 operations that took longest on average in the time shown, by host. Buckets are ' +
          'on the host dashboard.',
        width: 12,
        worst: 'Average',
        labels: {
          cluster: { name: 'Cluster' },
          instance: toHost,
          operation: { name: 'Operation' },
        },
        values: [
          {
            name: 'Average',
            unit: 's',
            thresholds: [
              [1, 'yellow'],
              [10, 'red'],
            ],
            expr: `topk(20, ${slow('sum')} / (${slow('count')} > 0))`,
          },
        ],
      }),
    ],
    'Who cannot tell': [
      table({
        title: 'Hosts with unwatched points',
        description:
          'What happens there is not seen, and rules that need it do not judge. A kernel module ' +
          'that is not loaded counts as well: `vfioscope doctor` on the host says which and why.',
        width: 8,
        worst: 'Points',
        labels: { cluster: { name: 'Cluster' }, instance: toAgent },
        values: [
          {
            name: 'Points',
            unit: 'none',
            thresholds: [[1, 'orange']],
            expr: `topk(20, sum by (${HOST}) (${unwatched}))`,
          },
        ],
      }),
      table({
        title: 'Hosts that lose events',
        description:
          'In the time shown. From a loss until a look at the host its state is tainted; why they were ' +
          'lost is on the dashboard of its agent.',
        width: 8,
        worst: 'Lost',
        labels: { cluster: { name: 'Cluster' }, instance: toAgent },
        values: [
          {
            name: 'Lost',
            unit: 'none',
            thresholds: [[1, 'red']],
            expr: `topk(20, ${lost})`,
          },
        ],
      }),
      table({
        title: 'Silent hosts',
        description: 'They answered in the time shown, and do not now.',
        width: 8,
        labels: { cluster: { name: 'Cluster' }, instance: toAgent },
        hideValues: true,
        values: [{ name: 'Seen', unit: 'none', expr: `${seen} unless ${answering}` }],
      }),
    ],
    Capacity: [
      table({
        title: 'Devices by type',
        description:
          'The 20 types with the most devices, over all hosts; without one, devices lent as a whole.',
        width: 12,
        worst: 'Devices',
        labels: { cluster: { name: 'Cluster' }, type: { name: 'Type' } },
        values: [
          {
            name: 'Devices',
            unit: 'none',
            expr: `topk(20, sum by (cluster, type) (${of('type:vfioscope_devices:sum')}))`,
          },
        ],
      }),
      table({
        title: 'Parents with little room',
        description:
          'The 20 with the fewest devices left to create. Types of one parent may share their room, ' +
          'so the type with the most counts.',
        width: 12,
        labels: { cluster: { name: 'Cluster' }, instance: toHost, parent: { name: 'Parent' } },
        values: [
          {
            name: 'Can be created',
            unit: 'none',
            thresholds: [],
            expr: `bottomk(20, max by (${HOST}, parent) (${of('parent:vfioscope_parent_available_instances:max')}))`,
          },
        ],
      }),
    ],
  },
};
