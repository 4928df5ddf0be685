/** One host: parents, devices, their holders, and the durations of operations. */
import { type Board, boardLink } from '../board.ts';
import { DEVICE_STATES, PARENT_STATES, VM_STATES } from '../colours.ts';
import { FULL_WIDTH, graph, heatmap, stat, table, timeline } from '../panels.ts';
import { DEVICE, HOST, ofHost, stateCodes, sum, VM } from '../promql.ts';
import { cluster, device, host, parent, single } from '../variables.ts';
import {
  deviceColumns,
  deviceStates,
  holdersTable,
  TOO_LONG,
  toDevice,
  violationsTable,
} from './devices.ts';

const { selector, increase, rate, increaseFromZero } = ofHost;
const PARENTS = 'parent=~"$parent"';
const DEVICES = 'device=~"$device"';
const selectedDevices = `max by (${DEVICE}, parent, mdev_type, driver) (${selector('vfioscope_device_info', PARENTS, DEVICES)})`;
/** Restricts series of devices, which have no label `parent`, to the selected parents. */
const onParents = (expr: string) => `(${expr}) and on (${DEVICE}) ${selectedDevices}`;
const state = onParents(deviceStates(DEVICES));
const toVm = { name: 'VM', link: boardLink('vm', 'Open this VM', { host: 'Host', vm: 'VM' }) };
const ofVms = (metric: string) => `max by (${VM}) (${selector(metric)})`;
const vmStates = stateCodes(VM, 'state', VM_STATES, (is) => selector('vfioscope_vm_state', is));
const bucket = 'vfioscope_operation_duration_seconds_bucket';

function latency(operation: string, description: string) {
  return heatmap({
    title: `Duration of ${operation}`,
    description: `${description} A call is counted when it returns, so calls in flight are not included.`,
    width: 12,
    expr: sum('le', increase(bucket, `operation="${operation}"`)),
  });
}

export const HOST_BOARD: Board = {
  name: 'host',
  title: 'Host',
  description:
    'Devices of a host with their states and holders, the durations of operations, and violations.',
  variables: [cluster, single(host), parent, device],
  annotations: {
    expr: `sum by (${HOST}, rule, severity) (increase(${selector('vfioscope_violations_total')}[2m])) > 0`,
    text: 'Raised on {{instance}}. Its open violations are in the table.',
  },
  // They have a line for each object, of which there may be a thousand.
  closed: ['Devices', 'VMs'],
  rows: {
    Overview: [
      stat({
        title: 'Devices',
        description: 'Mediated devices, and devices that are passed through as a whole.',
        unit: 'none',
        width: 4,
        expr: sum('', selector('vfioscope_devices', PARENTS)),
      }),
      stat({
        title: 'Open devices',
        description: 'Devices that a process has open.',
        unit: 'none',
        width: 4,
        none: '0',
        expr: sum('', selector('vfioscope_devices', PARENTS, 'state="open"')),
      }),
      stat({
        title: 'Removals waiting for users',
        description:
          'Devices whose removal waits until the processes that have them open close them. The table of holders names these processes.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: sum('', selector('vfioscope_removals_waiting', PARENTS)),
      }),
      stat({
        title: 'Parents',
        description: 'Devices that are registered as parents of mediated devices.',
        unit: 'none',
        width: 4,
        none: '0',
        expr: sum('', selector('vfioscope_parents', 'state="registered"')),
      }),
      stat({
        title: 'Parents being unregistered',
        description:
          'Parents whose driver is unbound or unloaded, which waits for the users of their devices.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: sum('', selector('vfioscope_parents', 'state="unregistering"')),
      }),
      stat({
        title: 'Open violations',
        description: 'Ongoing violations of severity warning or higher that are not resolved.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'red']],
        none: '0',
        expr: sum('', selector('vfioscope_violations_open', 'severity!="info"')),
      }),
      graph({
        title: 'Devices by state',
        description:
          'Many devices that stay in a transient state, such as creating or removing, are stalled.',
        unit: 'none',
        width: 8,
        stacked: true,
        colours: DEVICE_STATES,
        queries: [
          { expr: sum('state', selector('vfioscope_devices', PARENTS)), legend: '{{state}}' },
        ],
      }),
      graph({
        title: 'Parents by state',
        description:
          'A parent that stays in registering or unregistering is stalled in its driver.',
        unit: 'none',
        width: 8,
        stacked: true,
        colours: PARENT_STATES,
        queries: [{ expr: sum('state', selector('vfioscope_parents')), legend: '{{state}}' }],
      }),
      table({
        title: 'Capacity of parents',
        description: 'Existing devices and available instances, by mdev type.',
        width: 8,
        sortBy: 'Devices',
        labels: {
          instance: { name: 'Host' },
          parent: { name: 'Parent' },
          mdev_type: { name: 'Type' },
        },
        values: [
          {
            name: 'Devices',
            unit: 'none',
            expr: sum(`${HOST}, parent, mdev_type`, selector('vfioscope_devices', PARENTS)),
          },
          {
            name: 'Available instances',
            unit: 'none',
            expr: sum(
              `${HOST}, parent, mdev_type`,
              selector('vfioscope_parent_available_instances', PARENTS),
            ),
          },
        ],
      }),
    ],
    Violations: [
      violationsTable({
        title: 'Open violations',
        description:
          'Violations that are not resolved. The id links to the evidence in the API of the agent.',
        width: FULL_WIDTH,
        height: 6,
        of: {
          parent: { name: 'Parent' },
          device: toDevice,
          vm: toVm,
          vm_name: { name: 'VM name' },
        },
        expr: `max by (${DEVICE}, rule, severity, parent, vm, vm_name, violation_id) (${selector('vfioscope_violation_info', PARENTS, DEVICES)})`,
      }),
      holdersTable({
        title: 'Holders of devices with open violations',
        description:
          'Processes that have the device open, or are opening or closing it. A removal returns only after they have closed it; an open or close that does not return is a call of one of them.',
        width: FULL_WIDTH,
        height: 6,
        of: { device: toDevice },
        expr: `max by (${DEVICE}, pid, comm, systemd_unit) (${selector('vfioscope_device_holder_info', DEVICES)})`,
      }),
    ],
    Devices: [
      timeline({
        title: 'State of each device',
        description: 'A long orange bar is a removal that waits for its users.',
        width: FULL_WIDTH,
        height: 10,
        codes: DEVICE_STATES,
        queries: [{ expr: state, legend: '{{device}}' }],
      }),
      table({
        title: 'Devices',
        description: 'The device links to its own dashboard.',
        width: FULL_WIDTH,
        sortBy: 'Removing for',
        labels: {
          instance: { name: 'Host' },
          device: toDevice,
          parent: { name: 'Parent' },
          mdev_type: { name: 'Type' },
          driver: { name: 'Driver' },
        },
        values: deviceColumns(
          `${selectedDevices} * on (${DEVICE}) group_left () (${state})`,
          onParents,
          DEVICES,
        ),
      }),
    ],
    VMs: [
      table({
        title: 'VMs',
        description:
          'VMs of the host. The VM links to its own dashboard, which answers why it does not stop.',
        width: FULL_WIDTH,
        sortBy: 'Zombie for',
        labels: {
          instance: { name: 'Host' },
          vm: toVm,
          vm_name: { name: 'Name' },
          pid: { name: 'Process' },
          comm: { name: 'Command' },
        },
        values: [
          {
            name: 'State',
            unit: 'none',
            codes: VM_STATES,
            expr: `max by (${VM}, vm_name, pid, comm) (${selector('vfioscope_vm_info')}) * on (${VM}) group_left () ${vmStates}`,
          },
          { name: 'References', unit: 'none', expr: ofVms('vfioscope_vm_references') },
          { name: 'Devices', unit: 'none', expr: ofVms('vfioscope_vm_devices') },
          {
            name: 'Zombie for',
            unit: 's',
            thresholds: TOO_LONG,
            expr: `time() - ${ofVms('vfioscope_vm_fd_closed_timestamp_seconds')} and on (${VM}) ${selector('vfioscope_vm_state', 'state="zombie"')}`,
          },
        ],
      }),
    ],
    'Operations and violations': [
      latency('create', 'The driver sets the device up; some drivers create one device at a time.'),
      latency('open', 'A process opens the device file.'),
      latency('close', 'The device file is closed, and the driver resets the device.'),
      latency('remove', 'The removal waits until no process has the device open.'),
      graph({
        title: 'Duration of operations, 99th percentile',
        description:
          'Points are exemplars, which link to the trace of one operation, where Prometheus stores them.',
        unit: 's',
        width: 12,
        thresholds: [[10, 'red']],
        exemplars: true,
        queries: [
          {
            // The quantile of an operation that did not happen is NaN, which `> 0` drops.
            expr: `histogram_quantile(0.99, ${sum('operation, le', rate(bucket))}) > 0`,
            legend: '{{operation}}',
          },
        ],
      }),
      graph({
        title: 'Operations',
        description: 'Operations per second that returned, by result.',
        unit: 'ops',
        width: 12,
        queries: [
          {
            expr: `${sum('operation, result', rate('vfioscope_operation_duration_seconds_count'))} > 0`,
            legend: '{{operation}} {{result}}',
          },
        ],
      }),
      graph({
        title: 'Operations in progress',
        description:
          'Calls that have begun and not returned. A line that does not fall is a call that is stuck.',
        unit: 'none',
        width: 12,
        queries: [
          {
            expr: `${sum('operation', selector('vfioscope_operations_in_progress'))} > 0`,
            legend: '{{operation}}',
          },
        ],
      }),
      table({
        title: 'Oldest operation in progress',
        description:
          'How long it has been running. The alert VfioscopeCallStalled says what to do.',
        width: 12,
        sortBy: 'Running for',
        labels: { instance: { name: 'Host' }, operation: { name: 'Operation' } },
        values: [
          {
            name: 'Running for',
            unit: 's',
            thresholds: [
              [10, 'orange'],
              [60, 'red'],
            ],
            expr: `time() - min by (${HOST}, operation) (${selector('vfioscope_operation_oldest_start_timestamp_seconds')})`,
          },
        ],
      }),
      table({
        title: 'Failed operations',
        description:
          'Operations that failed within the time range, by the error that the kernel returned.',
        width: 12,
        sortBy: 'Failed',
        labels: {
          instance: { name: 'Host' },
          operation: { name: 'Operation' },
          errno: { name: 'Error' },
        },
        values: [
          {
            name: 'Failed',
            unit: 'none',
            thresholds: [[1, 'orange']],
            expr: sum(
              `${HOST}, operation, errno`,
              increaseFromZero('$__range', 'vfioscope_operation_errors_total'),
            ),
          },
        ],
      }),
      graph({
        title: 'Violations raised',
        description: 'Violations by rule. docs/rules describes each rule.',
        unit: 'none',
        width: 12,
        queries: [
          {
            expr: `${sum('rule', increase('vfioscope_violations_total'))} > 0`,
            legend: '{{rule}}',
          },
        ],
      }),
    ],
  },
};
