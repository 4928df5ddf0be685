/**
 * All hosts. It reads sums only, and recorded sums where a host has many series, so that its cost does
 * not grow with the number of devices.
 */
import { RECORDING_INTERVAL } from '../alerts/recording.ts';
import { type Board, boardLink } from '../board.ts';
import { DEVICE_STATES, SEVERITIES } from '../colours.ts';
import { graph, stat, table } from '../panels.ts';
import { HOST, increaseFromZero, increaseInRange, selector, sum } from '../promql.ts';
import { cluster, host } from '../variables.ts';

const toHost = { name: 'Host', link: boardLink('host', 'Open this host', { host: 'Host' }) };
const toAgent = {
  name: 'Host',
  link: boardLink('agent', 'Open the agent of this host', { host: 'Host' }),
};

const answeredInRange = `max by (${HOST}) (max_over_time(${selector('instance:vfioscope_build_info:max')}[$__range]))`;
const answering = `max by (${HOST}) (${selector('vfioscope_build_info')})`;
const unattached = selector('instance:vfioscope_probe_attached:unwatched');
const lost = `sum by (${HOST}) (${increaseInRange('instance:vfioscope_events_lost_total:sum')}) > 0`;
const violations = 'rule_severity:vfioscope_violations:increase2m';
const operationTotals = (calls: string) =>
  `sum by (${HOST}, operation) (${increaseInRange(`operation:vfioscope_operation_duration_seconds_${calls}:sum`)})`;

export const FLEET: Board = {
  name: 'fleet',
  title: 'Fleet',
  description:
    'All hosts: devices and VMs, ordering violations, hosts with blind spots, and capacity.',
  variables: [cluster, host],
  annotations: sum('rule, severity', selector(violations, 'severity=~"error|critical"')),
  rows: {
    Overview: [
      stat({
        title: 'Hosts',
        description: 'Hosts whose agent can be scraped.',
        unit: 'none',
        width: 3,
        expr: `count(${answering})`,
      }),
      stat({
        title: 'Unreachable hosts',
        description:
          'Hosts whose agent could be scraped within the time range and cannot be scraped now. Their devices and VMs are not observed.',
        unit: 'none',
        width: 3,
        thresholds: [[1, 'red']],
        none: '0',
        expr: `count(${answeredInRange} unless ${answering})`,
      }),
      stat({
        title: 'Devices',
        description: 'Mediated devices, and devices that are passed through as a whole.',
        unit: 'none',
        width: 3,
        expr: sum('', selector('state:vfioscope_devices:sum')),
      }),
      stat({
        title: 'Removals waiting',
        description:
          'Devices whose removal waits until the processes that have them open close them.',
        unit: 'none',
        width: 3,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: sum('', selector('vfioscope_removals_waiting')),
      }),
      stat({
        title: 'VMs',
        description: 'VMs that exist in KVM.',
        unit: 'none',
        width: 3,
        expr: sum('', selector('vfioscope_vms')),
      }),
      stat({
        title: 'Zombie VMs',
        description:
          'VMs whose file descriptors are all closed and that the kernel has not freed, because something still references them.',
        unit: 'none',
        width: 3,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: sum('', selector('vfioscope_vms', 'state="zombie"')),
      }),
      stat({
        title: 'Open violations',
        description: 'Ongoing violations of severity warning or higher that are not resolved.',
        unit: 'none',
        width: 3,
        thresholds: [[1, 'red']],
        none: '0',
        expr: sum('', selector('vfioscope_violations_open', 'severity!="info"')),
      }),
      stat({
        title: 'Blind spots',
        description:
          'Hosts on which a probe point is not attached, or events were lost within the time range.',
        unit: 'none',
        width: 3,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: `count(sum by (${HOST}) (${unattached}) or ${lost})`,
      }),
      graph({
        title: 'Devices by state',
        description:
          'Many devices that stay in a transient state, such as creating or removing, are stalled.',
        unit: 'none',
        width: 12,
        stacked: true,
        colours: DEVICE_STATES,
        queries: [
          { expr: sum('state', selector('state:vfioscope_devices:sum')), legend: '{{state}}' },
        ],
      }),
      graph({
        title: 'Failed operations',
        description: 'Operations that failed, by the error that the kernel returned.',
        unit: 'none',
        width: 12,
        queries: [
          {
            expr: sum(
              'operation, errno',
              increaseFromZero('$__rate_interval', 'vfioscope_operation_errors_total'),
            ),
            legend: '{{operation}} {{errno}}',
          },
        ],
      }),
    ],
    'Ordering violations': [
      graph({
        title: 'Violations raised',
        description:
          'Violations raised within two minutes, by rule. docs/rules describes each rule.',
        unit: 'none',
        width: 12,
        queries: [
          {
            expr: sum('rule', `max_over_time(${selector(violations)}[$__interval])`),
            legend: '{{rule}}',
            minStep: RECORDING_INTERVAL,
          },
        ],
      }),
      graph({
        title: 'Open violations by severity',
        description: 'Ongoing violations that are not resolved.',
        unit: 'none',
        width: 12,
        stacked: true,
        colours: SEVERITIES,
        queries: [
          { expr: sum('severity', selector('vfioscope_violations_open')), legend: '{{severity}}' },
        ],
      }),
      table({
        title: 'Hosts with open violations',
        description:
          'The 20 hosts and rules with the most. The Host dashboard shows the devices and their holders.',
        width: 12,
        sortBy: 'Open',
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
            expr: `topk(20, sum by (${HOST}, rule, severity) (${selector('vfioscope_violations_open')}) > 0)`,
          },
        ],
      }),
      table({
        title: 'Slowest operations',
        description:
          'The 20 operations with the highest average duration within the time range, by host. The Host ' +
          'dashboard shows the distribution.',
        width: 12,
        sortBy: 'Average',
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
            expr: `topk(20, ${operationTotals('sum')} / (${operationTotals('count')} > 0))`,
          },
        ],
      }),
    ],
    'Blind spots': [
      table({
        title: 'Hosts with probe points that are not attached',
        description:
          'Their events are not observed, and rules that need them are inactive. Points of kernel ' +
          'modules that are not loaded are included. Run `vfioscope doctor` on the host for the reasons.',
        width: 8,
        sortBy: 'Points',
        labels: { cluster: { name: 'Cluster' }, instance: toAgent },
        values: [
          {
            name: 'Points',
            unit: 'none',
            thresholds: [[1, 'orange']],
            expr: `topk(20, sum by (${HOST}) (${unattached}))`,
          },
        ],
      }),
      table({
        title: 'Hosts that lose events',
        description:
          'Events lost within the time range. The state of the host is unverified from a loss until the ' +
          'next host snapshot. The Agent dashboard shows the reasons.',
        width: 8,
        sortBy: 'Lost',
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
        title: 'Unreachable hosts',
        description:
          'Hosts whose agent could be scraped within the time range and cannot be scraped now.',
        width: 8,
        labels: { cluster: { name: 'Cluster' }, instance: toAgent },
        hideValues: true,
        values: [
          { name: 'Answered', unit: 'none', expr: `${answeredInRange} unless ${answering}` },
        ],
      }),
    ],
    Capacity: [
      table({
        title: 'Devices by type',
        description:
          'The 20 mdev types with the most devices, over all hosts. Devices that are passed through as a whole have no type.',
        width: 12,
        sortBy: 'Devices',
        labels: { cluster: { name: 'Cluster' }, mdev_type: { name: 'Type' } },
        values: [
          {
            name: 'Devices',
            unit: 'none',
            expr: `topk(20, sum by (cluster, mdev_type) (${selector('mdev_type:vfioscope_devices:sum')}))`,
          },
        ],
      }),
      table({
        title: 'Parents with the least capacity left',
        description:
          'The 20 parents with the fewest available instances. Types of one parent may share its ' +
          'capacity, so the type with the most instances is shown.',
        width: 12,
        labels: { cluster: { name: 'Cluster' }, instance: toHost, parent: { name: 'Parent' } },
        values: [
          {
            name: 'Available instances',
            unit: 'none',
            thresholds: [],
            expr: `bottomk(20, max by (${HOST}, parent) (${selector('parent:vfioscope_parent_available_instances:max')}))`,
          },
        ],
      }),
    ],
  },
};
