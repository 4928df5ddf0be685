/** One host, or a few: its parents, devices, who has them open, and how long operations take. */
import { type Board, toBoard } from '../board.ts';
import { DEVICE_STATES, PARENT_STATES, SEVERITIES } from '../colours.ts';
import { graph, heatmap, stat, table, timeline, WHOLE } from '../panels.ts';
import { codes, DEVICE, grownFromNothing, growth, HOST, of, rate, sum } from '../promql.ts';
import { cluster, device, host, parent } from '../variables.ts';

const PARENT = 'parent=~"$parent"';
const THIS = 'device=~"$device"';
const chosen = `max by (${DEVICE}, parent, type, driver) (${of('vfioscope_device_info', PARENT, THIS)})`;
/** Series about devices know nothing of their parents. */
const ofParents = (expr: string) => `(${expr}) and on (${DEVICE}) ${chosen}`;
/** They are shown for two scrapes more. */
const released = of('vfioscope_device_state', THIS, 'state="released"');
const age = (metric: string) => ofParents(`time() - max by (${DEVICE}) (${of(metric, THIS)})`);
const state = ofParents(
  codes(DEVICE, 'state', DEVICE_STATES, (is) => of('vfioscope_device_state', THIS, is)),
);
const toDevice = {
  name: 'Device',
  link: toBoard('device', 'This device', { host: 'Host', device: 'Device' }),
};
const bucket = 'vfioscope_operation_duration_seconds_bucket';

function latency(operation: string, meaning: string) {
  return heatmap({
    title: `How long ${operation} takes`,
    description: `${meaning} Counted when it returns, so what still waits is not here.`,
    width: 12,
    expr: sum('le', growth(bucket, `operation="${operation}"`)),
  });
}

export const HOST_BOARD: Board = {
  name: 'host',
  title: 'Host',
  description: 'What a host lends, to whom, in which state, and how long its operations take.',
  variables: [cluster, host, parent, device],
  marks: `sum by (${HOST}, rule, severity) (increase(${of('vfioscope_violations_total')}[2m])) > 0`,
  rows: {
    'What there is': [
      stat({
        title: 'Devices',
        description: 'Mediated devices, and devices lent as a whole, that are alive.',
        unit: 'none',
        width: 4,
        expr: sum('', of('vfioscope_devices', PARENT)),
      }),
      stat({
        title: 'Open',
        description: 'Devices that somebody has open.',
        unit: 'none',
        width: 4,
        none: '0',
        expr: sum('', of('vfioscope_devices', PARENT, 'state="open"')),
      }),
      stat({
        title: 'Removals that wait',
        description: 'For those who have the device open: the table of holders says who they are.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: sum('', of('vfioscope_devices_waiting', PARENT)),
      }),
      stat({
        title: 'Parents',
        description: 'That offer mediated devices.',
        unit: 'none',
        width: 4,
        none: '0',
        expr: sum('', of('vfioscope_parents', 'state="registered"')),
      }),
      stat({
        title: 'Parents that are withdrawn',
        description: 'Their driver is taken away, and waits for the users of their devices.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: sum('', of('vfioscope_parents', 'state="unregistering"')),
      }),
      stat({
        title: 'Open violations',
        description: 'Conditions that last and break the order, from warning upwards.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'red']],
        none: '0',
        expr: sum('', of('vfioscope_violations_open', 'severity!="info"')),
      }),
      graph({
        title: 'Devices by state',
        description: 'Many in one state that passes by itself, such as creating or removing, hang.',
        unit: 'none',
        width: 8,
        stacked: true,
        colours: DEVICE_STATES,
        queries: [{ expr: sum('state', of('vfioscope_devices', PARENT)), legend: '{{state}}' }],
      }),
      graph({
        title: 'Parents by state',
        description: 'One that stays in registering or unregistering is stuck in its driver.',
        unit: 'none',
        width: 8,
        stacked: true,
        colours: PARENT_STATES,
        queries: [{ expr: sum('state', of('vfioscope_parents')), legend: '{{state}}' }],
      }),
      table({
        title: 'Parents, types and room',
        description: 'How many devices there are, and how many more can be created.',
        width: 8,
        worst: 'Devices',
        labels: { instance: { name: 'Host' }, parent: { name: 'Parent' }, type: { name: 'Type' } },
        values: [
          {
            name: 'Devices',
            unit: 'none',
            expr: sum(`${HOST}, parent, type`, of('vfioscope_devices', PARENT)),
          },
          {
            name: 'Can be created',
            unit: 'none',
            expr: sum(`${HOST}, parent, type`, of('vfioscope_parent_available_instances', PARENT)),
          },
        ],
      }),
    ],
    'Single devices': [
      timeline({
        title: 'State of each device',
        description: 'An orange bar that lasts is a removal that waits.',
        width: WHOLE,
        height: 10,
        codes: DEVICE_STATES,
        queries: [{ expr: state, legend: '{{device}}' }],
      }),
      table({
        title: 'Devices',
        description: 'A click on a device shows its life.',
        width: WHOLE,
        worst: 'Removing for',
        labels: {
          instance: { name: 'Host' },
          device: toDevice,
          parent: { name: 'Parent' },
          type: { name: 'Type' },
          driver: { name: 'Driver' },
        },
        values: [
          {
            name: 'State',
            unit: 'none',
            codes: DEVICE_STATES,
            expr: `${chosen} * on (${DEVICE}) group_left () (${state})`,
          },
          {
            name: 'Open files',
            unit: 'none',
            expr: ofParents(`max by (${DEVICE}) (${of('vfioscope_device_open_files', THIS)})`),
          },
          { name: 'Age', unit: 's', expr: age('vfioscope_device_created_timestamp_seconds') },
          { name: 'Open for', unit: 's', expr: age('vfioscope_device_opened_timestamp_seconds') },
          {
            name: 'Removing for',
            unit: 's',
            thresholds: [
              [10, 'orange'],
              [60, 'red'],
            ],
            expr: `${age('vfioscope_device_remove_began_timestamp_seconds')} unless on (${DEVICE}) ${released}`,
          },
        ],
      }),
      table({
        title: 'Open violations',
        description: 'Conditions that last. A click on an id asks the agent for the evidence.',
        width: 14,
        labels: {
          instance: { name: 'Host' },
          rule: { name: 'Rule' },
          severity: { name: 'Severity', colours: SEVERITIES },
          parent: { name: 'Parent' },
          device: toDevice,
          vm: { name: 'VM' },
          id: { name: 'Id', link: violationLink() },
        },
        hideValues: true,
        values: [
          {
            name: 'Open',
            unit: 'none',
            expr: `max by (${DEVICE}, rule, severity, parent, vm, id) (${of('vfioscope_violation_info', PARENT, THIS)})`,
          },
        ],
      }),
      table({
        title: 'Who holds devices of open violations',
        description: 'Who has to let go. Stopping the unit, or the process, lets a removal go on.',
        width: 10,
        labels: {
          instance: { name: 'Host' },
          device: toDevice,
          pid: { name: 'Process' },
          comm: { name: 'Command' },
          unit: { name: 'Unit' },
        },
        hideValues: true,
        values: [
          {
            name: 'Holds',
            unit: 'none',
            expr: `max by (${DEVICE}, pid, comm, unit) (${of('vfioscope_device_holder_info', THIS)})`,
          },
        ],
      }),
    ],
    'What was done to them': [
      latency('create', 'The driver sets the device up, one after the other on some.'),
      latency('open', 'A VMM opens the device file.'),
      latency('close', 'The device file is closed; the driver resets the device.'),
      latency('remove', 'Waits until nobody has the device open.'),
      graph({
        title: 'How long operations take, 99 of 100',
        description: 'Points lead to the trace of one such operation, where exemplars are kept.',
        unit: 's',
        width: 12,
        thresholds: [[10, 'red']],
        exemplars: true,
        queries: [
          {
            // Of those that did not happen it is no number, which is dropped so.
            expr: `histogram_quantile(0.99, ${sum('operation, le', rate(bucket))}) > 0`,
            legend: '{{operation}}',
          },
        ],
      }),
      graph({
        title: 'Operations',
        description: 'That returned, well or not.',
        unit: 'ops',
        width: 12,
        queries: [
          {
            expr: `${sum('operation, result', rate('vfioscope_operation_duration_seconds_count'))} > 0`,
            legend: '{{operation}} {{result}}',
          },
        ],
      }),
      table({
        title: 'Operations that failed',
        description: 'In the time shown, by the error that the kernel returned.',
        width: 12,
        worst: 'Failed',
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
              grownFromNothing('$__range', 'vfioscope_operation_errors_total'),
            ),
          },
        ],
      }),
      graph({
        title: 'Violations raised',
        description: 'What happened in the wrong order, by rule. docs/rules says what each means.',
        unit: 'none',
        width: 12,
        queries: [
          { expr: `${sum('rule', growth('vfioscope_violations_total'))} > 0`, legend: '{{rule}}' },
        ],
      }),
    ],
  },
};

/** What the agent itself knows of a violation, at the address that it is scraped at. */
export function violationLink() {
  return {
    title: 'Evidence, from the agent',
    url: 'http://${__data.fields["Host"]}/api/v1/violations/${__data.fields["Id"]}',
  };
}
