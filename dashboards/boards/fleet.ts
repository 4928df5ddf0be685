/**
 * All hosts. It reads sums only, and recorded sums where a host has many series, so that its cost does
 * not grow with the number of devices.
 */
import { RECORDING_INTERVAL } from '../alerts/recording.ts';
import { type Board, boardLink } from '../board.ts';
import { DEVICE_STATES, SEVERITIES } from '../colours.ts';
import { graph, stat, table } from '../panels.ts';
import { HOST, holders, ofHosts, stateCodes, sum } from '../promql.ts';
import { cluster, host } from '../variables.ts';

const { selector, increaseFromZero, increaseInRange } = ofHosts;
const toHost = { name: 'Host', link: boardLink('host', 'Open this host', { host: 'Host' }) };
const toAgent = {
  name: 'Host',
  link: boardLink('agent', 'Open the agent of this host', { host: 'Host' }),
};

const toDevice = {
  name: 'Device',
  link: boardLink('device', 'Open this device', { host: 'Host', device: 'Device' }),
};

const answering = selector('vfioscope_build_info');
/** `up` remains while a host is a target; a series of its agent ends with the agent. */
const unreachable = `max by (${HOST}) (${selector('up')} == 0)`;
const failedProbes = `sum by (${HOST}) (${selector('instance:vfioscope_probe_failed:sum')}) > 0`;
const lost = `sum by (${HOST}) (${increaseInRange('instance:vfioscope_events_lost_total:sum')}) > 0`;
const recorded = selector('instance:vfioscope_build_info:max');
/** The number of series, 0 if there are none but some of the others, and nothing if there are none of either. */
const countAmong = (series: string, others: string) => `count(${series}) or 0 * count(${others})`;
const firingOf = (...matchers: readonly string[]) =>
  selector('ALERTS', 'alertname=~"Vfioscope.+"', 'alertstate="firing"', ...matchers);
const firing = firingOf();
/** The most severe of the alerts that fire, each with the code of its severity. */
const mostSevere = `topk(100, ${stateCodes(`${HOST}, alertname`, 'severity', SEVERITIES, firingOf)})`;
/** More than Unix time will be for centuries. */
const CODE = 1e10;
/**
 * When violations were last raised within the time range, plus the code of their severity times CODE: the
 * highest are the latest of the most severe, and both can be had back.
 */
const raised = `topk(100, max by (${HOST}, rule, severity) (${Object.keys(SEVERITIES)
  .map((severity, i) => {
    const last = selector('vfioscope_last_violation_timestamp_seconds', `severity="${severity}"`);
    return `(max_over_time(${last}[$__range]) > time() - $__range_s) + ${CODE * (i + 1)}`;
  })
  .join(' or ')}))`;
const violations = 'rule_severity:vfioscope_violations:increase2m';
const operationTotals = (calls: string) =>
  `sum by (${HOST}, operation) (${increaseInRange(`operation:vfioscope_operation_duration_seconds_${calls}:sum`)})`;

export const FLEET: Board = {
  name: 'fleet',
  title: 'Fleet',
  description:
    'All hosts: devices and VMs, ordering violations, hosts with blind spots, and capacity.',
  variables: [cluster, host],
  annotations: {
    expr: sum(`${HOST}, rule, severity`, selector(violations, 'severity=~"error|critical"')),
    text: 'Raised on {{instance}} (cluster {{cluster}}). The Host dashboard shows its objects.',
  },
  rows: {
    'What broke': [
      stat({
        title: 'Critical violations',
        description:
          'Critical violations that occurred since the hosts were booted, also those of earlier runs of their agents. ' +
          'The kernel of such a host may use freed memory.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'red']],
        unknown: 'no agent answers',
        expr: countAmong(selector('vfioscope_critical_violation_timestamp_seconds'), answering),
      }),
      stat({
        title: 'Firing alerts',
        description:
          'Alerts of vfioscope that fire now. There are none either where alerts.yml is not loaded.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'red']],
        unknown: 'none',
        expr: `count(${firing})`,
      }),
      stat({
        title: 'Removals waiting',
        description:
          'Devices whose removal waits until the processes that have them open close them.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: sum('', selector('vfioscope_removals_waiting')),
      }),
      stat({
        title: 'Zombie VMs',
        description:
          'VMs whose file descriptors are all closed and that the kernel has not freed, because something still references them.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: sum('', selector('vfioscope_vms', 'state="zombie"')),
      }),
      stat({
        title: 'Unreachable hosts',
        description:
          'Targets that cannot be scraped now, however long ago they last could. Their devices and VMs are not observed.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'red']],
        unknown: 'no targets',
        expr: countAmong(unreachable, selector('up')),
      }),
      stat({
        title: 'Blind spots',
        description:
          'Hosts on which a probe point of a loaded module could not be attached, or events were lost within the time range.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'orange']],
        unknown: 'no recording rules',
        expr: countAmong(`(${failedProbes}) or (${lost})`, recorded),
      }),
      table({
        title: 'Violations raised',
        description:
          'Violations that began, were repeated or became more severe within the time range, the most severe and ' +
          'latest first, at most 100. docs/rules describes each rule.',
        width: 12,
        height: 9,
        sortBy: 'Severity',
        thenBy: 'Ago',
        hidden: ['severity'],
        none: 'nothing within the time range',
        labels: { cluster: { name: 'Cluster' }, instance: toHost, rule: { name: 'Rule' } },
        values: [
          {
            name: 'Severity',
            unit: 'none',
            codes: SEVERITIES,
            expr: `floor(${raised} / ${CODE})`,
          },
          { name: 'Ago', unit: 's', expr: `time() - ${raised} % ${CODE}` },
        ],
      }),
      table({
        title: 'Firing alerts',
        description:
          'Alerts of vfioscope that fire now, the most severe first, at most 100. The runbook of each is in docs/runbooks, and the agent serves it under /docs/runbooks.',
        width: 12,
        height: 9,
        sortBy: 'Severity',
        none: 'none',
        labels: {
          cluster: { name: 'Cluster' },
          instance: toHost,
          alertname: { name: 'Alert' },
        },
        values: [
          { name: 'Severity', unit: 'none', codes: SEVERITIES, expr: mostSevere },
          {
            name: 'Alerts',
            unit: 'none',
            expr: `count by (${HOST}, alertname) (${firing}) and ${mostSevere}`,
          },
        ],
      }),
      table({
        title: 'Holders of what stalls',
        description:
          'Processes that have a device with an open violation open, or are opening or closing it. A removal ' +
          'returns only after they have closed it; an open or close that does not return is a call of one of ' +
          'them. At most 100, the most severe first.',
        width: 18,
        height: 6,
        sortBy: 'Severity',
        none: 'no device with an open violation is held',
        labels: {
          cluster: { name: 'Cluster' },
          instance: toHost,
          device: toDevice,
          rule: { name: 'Rule' },
          pid: { name: 'Process' },
          comm: { name: 'Command' },
          systemd_unit: { name: 'systemd unit' },
        },
        values: [
          {
            name: 'Severity',
            unit: 'none',
            codes: SEVERITIES,
            expr: `topk(100, ${holders(selector, SEVERITIES)})`,
          },
        ],
      }),
      table({
        title: 'Hosts with zombie VMs',
        description:
          'The 20 hosts with the most VMs whose file descriptors are all closed and that the kernel has not ' +
          'freed. The Host dashboard shows which VMs, and what holds them.',
        width: 6,
        height: 6,
        sortBy: 'VMs',
        none: 'none',
        labels: { cluster: { name: 'Cluster' }, instance: toHost },
        values: [
          {
            name: 'VMs',
            unit: 'none',
            expr: `topk(20, ${sum(HOST, selector('vfioscope_vms', 'state="zombie"'))} > 0)`,
          },
        ],
      }),
    ],
    Overview: [
      stat({
        title: 'Hosts',
        description: 'Hosts whose agent can be scraped.',
        unit: 'none',
        width: 6,
        expr: `count(${answering})`,
      }),
      stat({
        title: 'Devices',
        description: 'Mediated devices, and devices that are passed through as a whole.',
        unit: 'none',
        width: 6,
        expr: sum('', selector('state:vfioscope_devices:sum')),
      }),
      stat({
        title: 'VMs',
        description: 'VMs that exist in KVM.',
        unit: 'none',
        width: 6,
        expr: sum('', selector('vfioscope_vms')),
      }),
      stat({
        title: 'Open violations',
        description: 'Ongoing violations of severity warning or higher that are not resolved.',
        unit: 'none',
        width: 6,
        thresholds: [[1, 'red']],
        none: '0',
        expr: sum('', selector('vfioscope_violations_open', 'severity!="info"')),
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
        title: 'Violations raised by rule',
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
        title: 'Hosts with probe points that failed',
        description:
          'Their events are not observed, and rules that need them are inactive. Points of kernel ' +
          'modules that are not loaded are not included. Run `vfioscope doctor` on the host for the reasons.',
        width: 8,
        sortBy: 'Points',
        labels: { cluster: { name: 'Cluster' }, instance: toAgent },
        values: [
          {
            name: 'Points',
            unit: 'none',
            thresholds: [[1, 'orange']],
            expr: `topk(20, ${failedProbes})`,
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
        description: 'Targets that cannot be scraped now.',
        width: 8,
        labels: { cluster: { name: 'Cluster' }, instance: toAgent },
        hideValues: true,
        none: 'none',
        values: [{ name: 'Unreachable', unit: 'none', expr: `topk(100, ${unreachable})` }],
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
