/** VMs: their creators, the references on them, and zombie VMs. */
import { type Board, boardLink } from '../board.ts';
import { SEVERITIES, VM_STATES } from '../colours.ts';
import { FULL_WIDTH, graph, stat, table, timeline } from '../panels.ts';
import { HOST, selector, stateCodes, sum, VM } from '../promql.ts';
import { cluster, host, vm } from '../variables.ts';
import { violationLink } from './host.ts';

const VMS = 'vm=~"$vm"';
const ofVms = (metric: string) => `max by (${VM}) (${selector(metric, VMS)})`;
const state = stateCodes(VM, 'state', VM_STATES, (is) => selector('vfioscope_vm_state', VMS, is));
const zombies = selector('vfioscope_vm_state', VMS, 'state="zombie"');
const sinceClosed = `time() - ${ofVms('vfioscope_vm_fd_closed_timestamp_seconds')} and on (${VM}) ${zombies}`;
const creators = `max by (${VM}, pid, comm) (${selector('vfioscope_vm_info', VMS)})`;
const toDevice = {
  name: 'Device',
  link: boardLink('device', 'Open this device', { host: 'Host', device: 'Device' }),
};
const LONG_SINCE_CLOSED = [
  [10, 'orange'],
  [60, 'red'],
] as const;

export const VM_BOARD: Board = {
  name: 'vm',
  title: 'VM',
  description: 'VMs, the references on them, their devices, and zombie VMs.',
  variables: [cluster, host, vm],
  annotations: `max by (${VM}, rule, severity) (${selector('vfioscope_violation_info', VMS, 'vm!=""')})`,
  rows: {
    Overview: [
      stat({
        title: 'VMs',
        description: 'VMs that exist in KVM on the selected hosts.',
        unit: 'none',
        width: 6,
        expr: sum('', selector('vfioscope_vms')),
      }),
      stat({
        title: 'Zombie VMs',
        description:
          'VMs whose file descriptors are all closed and that the kernel has not freed: a device is ' +
          'still open, or a reference was leaked.',
        unit: 'none',
        width: 6,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: sum('', selector('vfioscope_vms', 'state="zombie"')),
      }),
      stat({
        title: 'Oldest zombie VM',
        description: 'The time since the last file descriptor of the oldest zombie VM was closed.',
        unit: 's',
        width: 6,
        thresholds: LONG_SINCE_CLOSED,
        none: 'none',
        expr: `max(${sinceClosed})`,
      }),
      stat({
        title: 'VMs with violations',
        description: 'VMs with a violation that is not resolved.',
        unit: 'none',
        width: 6,
        thresholds: [[1, 'red']],
        none: '0',
        expr: `count(count by (${VM}) (${selector('vfioscope_violation_info', VMS, 'vm!=""')}))`,
      }),
      table({
        title: 'VMs',
        description: 'The creator of each VM, and the references that keep it from being freed.',
        width: FULL_WIDTH,
        sortBy: 'Zombie for',
        labels: {
          instance: { name: 'Host' },
          vm: { name: 'VM' },
          pid: { name: 'Process' },
          comm: { name: 'Command' },
        },
        values: [
          {
            name: 'State',
            unit: 'none',
            codes: VM_STATES,
            expr: `${creators} * on (${VM}) group_left () (${state})`,
          },
          { name: 'References', unit: 'none', expr: ofVms('vfioscope_vm_references') },
          { name: 'Devices', unit: 'none', expr: ofVms('vfioscope_vm_devices') },
          { name: 'Zombie for', unit: 's', thresholds: LONG_SINCE_CLOSED, expr: sinceClosed },
        ],
      }),
    ],
    Lifecycle: [
      timeline({
        title: 'State of each VM',
        description:
          'A long orange bar is a zombie VM: no process has its file descriptor, and it is not freed.',
        width: FULL_WIDTH,
        codes: VM_STATES,
        queries: [{ expr: state, legend: '{{vm}}' }],
      }),
      graph({
        title: 'References',
        description:
          "The kernel's users_count. References that remain after the file descriptors are closed belong to a device, or are leaked.",
        unit: 'none',
        width: 12,
        queries: [{ expr: `${ofVms('vfioscope_vm_references')} > 0`, legend: '{{vm}}' }],
      }),
      graph({
        title: 'Devices',
        description: 'Devices that are assigned to each VM.',
        unit: 'none',
        width: 12,
        queries: [{ expr: `${ofVms('vfioscope_vm_devices')} > 0`, legend: '{{vm}}' }],
      }),
    ],
    'Devices and violations': [
      table({
        title: 'Assigned devices',
        description: 'Each device holds a reference on its VM as long as it is open.',
        width: 12,
        labels: { instance: { name: 'Host' }, vm: { name: 'VM' }, device: toDevice },
        hideValues: true,
        values: [
          {
            name: 'Info',
            unit: 'none',
            expr: `max by (${HOST}, vm, device) (${selector('vfioscope_device_vm_info', VMS)})`,
          },
        ],
      }),
      table({
        title: 'Open violations',
        description:
          'Violations that are not resolved. The id links to the evidence in the API of the agent.',
        width: 12,
        labels: {
          instance: { name: 'Host' },
          rule: { name: 'Rule' },
          severity: { name: 'Severity', colours: SEVERITIES },
          vm: { name: 'VM' },
          device: toDevice,
          violation_id: { name: 'Id', link: violationLink() },
        },
        hideValues: true,
        values: [
          {
            name: 'Open',
            unit: 'none',
            expr: `max by (${VM}, rule, severity, device, violation_id) (${selector('vfioscope_violation_info', VMS, 'vm!=""')})`,
          },
        ],
      }),
    ],
  },
};
