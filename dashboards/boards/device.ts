/** One device from its creation to its release. */
import { DashboardLinkBuilder, DashboardLinkType } from '@grafana/grafana-foundation-sdk/dashboard';
import { type Board, boardLink } from '../board.ts';
import { type Colours, DEVICE_STATES, SEVERITIES } from '../colours.ts';
import { FULL_WIDTH, graph, stat, table, timeline } from '../panels.ts';
import { DEVICE, ofHost, stateCodes, VM } from '../promql.ts';
import { cluster, device, host, parent, single, traces } from '../variables.ts';
import { deviceStates, holdersTable, TOO_LONG, violationsTable } from './devices.ts';

const { selector } = ofHost;
const DEVICE_MATCHER = 'device="$device"';
const ofDevice = (metric: string) => `max by (${DEVICE}) (${selector(metric, DEVICE_MATCHER)})`;
const assignment = `max by (${DEVICE}, vm) (${selector('vfioscope_device_vm_info', DEVICE_MATCHER)})`;
const ofItsVm = (metric: string) =>
  `max by (${VM}) (${selector(metric)}) and on (${VM}) ${selector('vfioscope_device_vm_info', DEVICE_MATCHER)}`;
const ASSIGNMENT: Colours = { assigned: 'blue' };

export const DEVICE_BOARD: Board = {
  name: 'device',
  title: 'Device',
  description: 'One device from its creation to its release: state, open files, VM and violations.',
  variables: [cluster, single(host), parent, single(device), traces],
  annotations: {
    expr: `max by (${DEVICE}, rule, severity) (${selector('vfioscope_violation_info', DEVICE_MATCHER)})`,
    text: 'Open on device {{device}} of {{instance}}.',
  },
  links: [trace(), api()],
  rows: {
    'Who holds it': [
      stat({
        title: 'State',
        description: 'The current state. It is shown until shortly after the device was released.',
        unit: 'none',
        width: 4,
        codes: DEVICE_STATES,
        expr: deviceStates(DEVICE_MATCHER),
      }),
      stat({
        title: 'Age',
        description:
          'The time since the creation of the device; empty if the agent did not observe it.',
        unit: 's',
        width: 4,
        expr: `time() - ${ofDevice('vfioscope_device_created_timestamp_seconds')}`,
      }),
      stat({
        title: 'Open files',
        description: 'Open files of the device, as the kernel counts them.',
        unit: 'none',
        width: 4,
        expr: ofDevice('vfioscope_device_open_files'),
      }),
      stat({
        title: 'Open for',
        description: 'The time since the oldest open file was opened.',
        unit: 's',
        width: 4,
        none: 'not open',
        expr: `time() - ${ofDevice('vfioscope_device_opened_timestamp_seconds')}`,
      }),
      stat({
        title: 'Removing for',
        description: 'The time since the removal began. It waits until every open file is closed.',
        unit: 's',
        width: 4,
        thresholds: TOO_LONG,
        none: 'not removing',
        expr: `time() - ${ofDevice('vfioscope_device_remove_began_timestamp_seconds')} unless on (${DEVICE}) ${selector('vfioscope_device_state', DEVICE_MATCHER, 'state="released"')}`,
      }),
      stat({
        title: 'Open violations',
        description: 'Ongoing violations of this device that are not resolved.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'red']],
        none: '0',
        expr: `count(${selector('vfioscope_violation_info', DEVICE_MATCHER)})`,
      }),
      holdersTable({
        title: 'Holders',
        description:
          'Processes that have the device open and have to close it before a removal can ' +
          'return. Listed while a violation of the device is open.',
        width: 14,
        height: 6,
        none: 'no violation is open: the API lists who has it open',
        expr: `max by (cluster, instance, pid, comm, systemd_unit) (${selector('vfioscope_device_holder_info', DEVICE_MATCHER)})`,
      }),
      violationsTable({
        title: 'Open violations',
        description:
          'Violations that are not resolved. The id links to the evidence in the API of the agent.',
        width: 10,
        height: 6,
        none: 'none',
        of: {
          vm: { name: 'VM', link: boardLink('vm', 'This VM', { host: 'Host', vm: 'VM' }) },
          vm_name: { name: 'VM name' },
        },
        expr: `max by (cluster, instance, rule, severity, vm, vm_name, violation_id) (${selector('vfioscope_violation_info', DEVICE_MATCHER)})`,
      }),
      table({
        title: 'Identity',
        description: 'Parent, mdev type, driver and IOMMU group of the device.',
        width: FULL_WIDTH,
        height: 4,
        labels: {
          instance: { name: 'Host' },
          device: { name: 'Device' },
          parent: { name: 'Parent' },
          mdev_type: { name: 'Type' },
          driver: { name: 'Driver' },
          iommu_group: { name: 'IOMMU group' },
        },
        hideValues: true,
        values: [
          {
            name: 'Info',
            unit: 'none',
            expr: `max by (${DEVICE}, parent, mdev_type, driver, iommu_group) (${selector('vfioscope_device_info', DEVICE_MATCHER)})`,
          },
        ],
      }),
    ],
    Lifecycle: [
      timeline({
        title: 'State',
        description: 'The state at each scrape. Shorter states are in the trace and in the API.',
        width: FULL_WIDTH,
        height: 4,
        codes: DEVICE_STATES,
        queries: [
          {
            expr: deviceStates(DEVICE_MATCHER),
            legend: '{{device}}',
          },
        ],
      }),
      timeline({
        title: 'VM',
        description: 'The VM that the device is assigned to, by its id in the API.',
        width: FULL_WIDTH,
        height: 4,
        codes: ASSIGNMENT,
        queries: [{ expr: assignment, legend: '{{vm}}' }],
      }),
      timeline({
        title: 'Violations',
        description: 'Open violations by rule, in the colour of their severity.',
        width: FULL_WIDTH,
        height: 4,
        codes: SEVERITIES,
        queries: [
          {
            expr: stateCodes(`${DEVICE}, rule`, 'severity', SEVERITIES, (is) =>
              selector('vfioscope_violation_info', DEVICE_MATCHER, is),
            ),
            legend: '{{rule}}',
          },
        ],
      }),
      graph({
        title: 'Open files',
        description: 'Open files of the device, as the kernel counts them.',
        unit: 'none',
        width: 12,
        queries: [{ expr: ofDevice('vfioscope_device_open_files'), legend: 'open files' }],
      }),
      graph({
        title: 'References on its VM',
        description:
          "The kernel's users_count of the VM. Each open device holds one reference; the VMM's own files hold the others.",
        unit: 'none',
        width: 12,
        queries: [
          { expr: ofItsVm('vfioscope_vm_references'), legend: 'references on {{vm}}' },
          { expr: ofItsVm('vfioscope_vm_devices'), legend: 'devices of {{vm}}' },
        ],
      }),
    ],
  },
};

/** A link to the traces of the device in Grafana's Explore. */
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
  // Grafana replaces its variables only where they are not percent-encoded.
  const query = encodeURIComponent(JSON.stringify(panes)).replaceAll(
    /%24%7B(\w+)%7D/g,
    (_, name) => `\${${name}}`,
  );
  return new DashboardLinkBuilder('Trace')
    .type(DashboardLinkType.Link)
    .icon('bolt')
    .tooltip('The trace of the lifecycle of this device')
    .url(`/explore?schemaVersion=1&panes=${query}`)
    .targetBlank(true);
}

function api(): DashboardLinkBuilder {
  return new DashboardLinkBuilder('Agent API')
    .type(DashboardLinkType.Link)
    .icon('external link')
    .tooltip('Everything that the agent knows about this device, with its timeline')
    .url('http://${host}/api/v1/devices/${device}')
    .targetBlank(true);
}
