/** The life of one device. */
import { DashboardLinkBuilder, DashboardLinkType } from '@grafana/grafana-foundation-sdk/dashboard';
import { type Board, toBoard } from '../board.ts';
import { type Colours, DEVICE_STATES, SEVERITIES } from '../colours.ts';
import { graph, stat, table, timeline, WHOLE } from '../panels.ts';
import { codes, DEVICE, of, VM } from '../promql.ts';
import { cluster, device, host, parent, single, traces } from '../variables.ts';
import { violationLink } from './host.ts';

const THIS = 'device="$device"';
const it = (metric: string) => `max by (${DEVICE}) (${of(metric, THIS)})`;
const tied = `max by (${DEVICE}, vm) (${of('vfioscope_device_vm_info', THIS)})`;
const ofItsVm = (metric: string) =>
  `max by (${VM}) (${of(metric)}) and on (${VM}) ${of('vfioscope_device_vm_info', THIS)}`;
const TIED: Colours = { tied: 'blue' };

export const DEVICE_BOARD: Board = {
  name: 'device',
  title: 'Device',
  description:
    'One device from its creation to its release: state, users, VM, and what went wrong.',
  variables: [cluster, single(host), parent, single(device), traces],
  marks: `max by (${DEVICE}, rule, severity) (${of('vfioscope_violation_info', THIS)})`,
  links: [trace(), api()],
  rows: {
    Now: [
      stat({
        title: 'State',
        description: 'Gone from here soon after the device was released.',
        unit: 'none',
        width: 4,
        codes: DEVICE_STATES,
        expr: codes(DEVICE, 'state', DEVICE_STATES, (is) => of('vfioscope_device_state', THIS, is)),
      }),
      stat({
        title: 'Age',
        description: 'Since it was created; nothing where nobody saw that.',
        unit: 's',
        width: 4,
        expr: `time() - ${it('vfioscope_device_created_timestamp_seconds')}`,
      }),
      stat({
        title: 'Open files',
        description: 'As the kernel counts them.',
        unit: 'none',
        width: 4,
        expr: it('vfioscope_device_open_files'),
      }),
      stat({
        title: 'Open for',
        description: 'Since the file was opened that has been open longest.',
        unit: 's',
        width: 4,
        none: 'not open',
        expr: `time() - ${it('vfioscope_device_opened_timestamp_seconds')}`,
      }),
      stat({
        title: 'Removing for',
        description: 'It waits for those who have the device open.',
        unit: 's',
        width: 4,
        thresholds: [
          [10, 'orange'],
          [60, 'red'],
        ],
        none: 'no',
        expr: `time() - ${it('vfioscope_device_remove_began_timestamp_seconds')} unless on (${DEVICE}) ${of('vfioscope_device_state', THIS, 'state="released"')}`,
      }),
      stat({
        title: 'Open violations',
        description: 'Conditions of this device that last.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'red']],
        none: '0',
        expr: `count(${of('vfioscope_violation_info', THIS)})`,
      }),
      table({
        title: 'What it is',
        description: 'As its parent and its driver name it, and its IOMMU group.',
        width: WHOLE,
        height: 4,
        labels: {
          instance: { name: 'Host' },
          device: { name: 'Device' },
          parent: { name: 'Parent' },
          type: { name: 'Type' },
          driver: { name: 'Driver' },
          group: { name: 'Group' },
        },
        hideValues: true,
        values: [
          {
            name: 'Is',
            unit: 'none',
            expr: `max by (${DEVICE}, parent, type, driver, group) (${of('vfioscope_device_info', THIS)})`,
          },
        ],
      }),
    ],
    'Its life': [
      timeline({
        title: 'State',
        description:
          'What Prometheus saw when it asked; shorter states are in the trace and the API.',
        width: WHOLE,
        height: 4,
        codes: DEVICE_STATES,
        queries: [
          {
            expr: codes(DEVICE, 'state', DEVICE_STATES, (is) =>
              of('vfioscope_device_state', THIS, is),
            ),
            legend: '{{device}}',
          },
        ],
      }),
      timeline({
        title: 'VM',
        description: 'The VM that the device is tied to, by its id in the API.',
        width: WHOLE,
        height: 4,
        codes: TIED,
        queries: [{ expr: tied, legend: '{{vm}}' }],
      }),
      timeline({
        title: 'Violations',
        description: 'As long as they last, by rule, in the colour of their severity.',
        width: WHOLE,
        height: 4,
        codes: SEVERITIES,
        queries: [
          {
            expr: codes(`${DEVICE}, rule`, 'severity', SEVERITIES, (is) =>
              of('vfioscope_violation_info', THIS, is),
            ),
            legend: '{{rule}}',
          },
        ],
      }),
      graph({
        title: 'Open files',
        description: 'As the kernel counts them.',
        unit: 'none',
        width: 12,
        queries: [{ expr: it('vfioscope_device_open_files'), legend: 'open files' }],
      }),
      graph({
        title: 'References on its VM',
        description:
          "The kernel's users_count. Each open device has one; more than that belongs to the VMM's own files.",
        unit: 'none',
        width: 12,
        queries: [
          { expr: ofItsVm('vfioscope_vm_references'), legend: 'references on {{vm}}' },
          { expr: ofItsVm('vfioscope_vm_devices'), legend: 'devices of {{vm}}' },
        ],
      }),
    ],
    'What is wrong': [
      table({
        title: 'Open violations',
        description: 'A click on an id asks the agent for the evidence.',
        width: 12,
        labels: {
          instance: { name: 'Host' },
          rule: { name: 'Rule' },
          severity: { name: 'Severity', colours: SEVERITIES },
          vm: { name: 'VM', link: toBoard('vm', 'This VM', { host: 'Host', vm: 'VM' }) },
          id: { name: 'Id', link: violationLink() },
        },
        hideValues: true,
        values: [
          {
            name: 'Open',
            unit: 'none',
            expr: `max by (cluster, instance, rule, severity, vm, id) (${of('vfioscope_violation_info', THIS)})`,
          },
        ],
      }),
      table({
        title: 'Who holds it',
        description: 'Who has to let go. Told while a violation is open.',
        width: 12,
        labels: {
          instance: { name: 'Host' },
          pid: { name: 'Process' },
          comm: { name: 'Command' },
          unit: { name: 'Unit' },
        },
        hideValues: true,
        values: [
          {
            name: 'Holds',
            unit: 'none',
            expr: `max by (cluster, instance, pid, comm, unit) (${of('vfioscope_device_holder_info', THIS)})`,
          },
        ],
      }),
    ],
  },
};

/** Grafana's Explore, on the traces of the device. */
function trace(): DashboardLinkBuilder {
  const panes = {
    trace: {
      datasource: '${traces}',
      queries: [
        {
          refId: 'A',
          datasource: { type: 'tempo', uid: '${traces}' },
          queryType: 'traceql',
          query: '{ span.vfio.device.name = "${device}" }',
        },
      ],
      range: { from: '${__from}', to: '${__to}' },
    },
  };
  // Grafana has to find its variables in it.
  const query = encodeURIComponent(JSON.stringify(panes)).replaceAll(
    /%24%7B(\w+)%7D/g,
    (_, name) => `\${${name}}`,
  );
  return new DashboardLinkBuilder('Trace')
    .type(DashboardLinkType.Link)
    .icon('bolt')
    .tooltip('The trace of its life')
    .url(`/explore?schemaVersion=1&panes=${query}`)
    .targetBlank(true);
}

function api(): DashboardLinkBuilder {
  return new DashboardLinkBuilder('Ask the agent')
    .type(DashboardLinkType.Link)
    .icon('external link')
    .tooltip('All that the agent knows of it, with its timeline')
    .url('http://${host}/api/v1/devices/${device}')
    .targetBlank(true);
}
