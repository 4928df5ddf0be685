/** VMs: who made them, what keeps them alive, and those that nobody can reach any more. */
import { type Board, toBoard } from '../board.ts';
import { SEVERITIES, VM_STATES } from '../colours.ts';
import { graph, stat, table, timeline, WHOLE } from '../panels.ts';
import { codes, HOST, of, sum, VM } from '../promql.ts';
import { cluster, host, vm } from '../variables.ts';
import { violationLink } from './host.ts';

const THIS = 'vm=~"$vm"';
const them = (metric: string) => `max by (${VM}) (${of(metric, THIS)})`;
const state = codes(VM, 'state', VM_STATES, (is) => of('vfioscope_vm_state', THIS, is));
const released = of('vfioscope_vm_state', THIS, 'state="released"');
const sinceClosed = `time() - ${them('vfioscope_vm_fd_closed_timestamp_seconds')} and on (${VM}) ${released}`;
const who = `max by (${VM}, pid, comm) (${of('vfioscope_vm_info', THIS)})`;
const toDevice = {
  name: 'Device',
  link: toBoard('device', 'This device', { host: 'Host', device: 'Device' }),
};
const LONG = [
  [10, 'orange'],
  [60, 'red'],
] as const;

export const VM_BOARD: Board = {
  name: 'vm',
  title: 'VM',
  description: 'VMs, the references that keep them alive, their devices, and those left behind.',
  variables: [cluster, host, vm],
  marks: `max by (${VM}, rule, severity) (${of('vfioscope_violation_info', THIS, 'vm!=""')})`,
  rows: {
    Now: [
      stat({
        title: 'VMs',
        description: 'VMs that KVM knows on the chosen hosts.',
        unit: 'none',
        width: 6,
        expr: sum('', of('vfioscope_vms')),
      }),
      stat({
        title: 'Released VMs',
        description:
          'Their last file descriptor is closed, and something keeps them alive: a device that is ' +
          'still open, or a reference that nobody will put.',
        unit: 'none',
        width: 6,
        thresholds: [[1, 'orange']],
        none: '0',
        expr: sum('', of('vfioscope_vms', 'state="released"')),
      }),
      stat({
        title: 'Longest released',
        description: 'How long the oldest of them has outlived its file descriptor.',
        unit: 's',
        width: 6,
        thresholds: LONG,
        none: 'none',
        expr: `max(${sinceClosed})`,
      }),
      stat({
        title: 'VMs with violations',
        description: 'That open violations are about.',
        unit: 'none',
        width: 6,
        thresholds: [[1, 'red']],
        none: '0',
        expr: `count(count by (${VM}) (${of('vfioscope_violation_info', THIS, 'vm!=""')}))`,
      }),
      table({
        title: 'VMs',
        description: 'Who made each, and what keeps it alive.',
        width: WHOLE,
        worst: 'Released for',
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
            expr: `${who} * on (${VM}) group_left () (${state})`,
          },
          { name: 'References', unit: 'none', expr: them('vfioscope_vm_references') },
          { name: 'Devices', unit: 'none', expr: them('vfioscope_vm_devices') },
          { name: 'Released for', unit: 's', thresholds: LONG, expr: sinceClosed },
        ],
      }),
    ],
    'Over time': [
      timeline({
        title: 'State of each VM',
        description:
          'An orange bar that lasts is a VM that nobody can reach and that is not freed.',
        width: WHOLE,
        codes: VM_STATES,
        queries: [{ expr: state, legend: '{{vm}}' }],
      }),
      graph({
        title: 'References',
        description:
          "The kernel's users_count. What stays after the file descriptors are closed is a device's, or a leak.",
        unit: 'none',
        width: 12,
        queries: [{ expr: `${them('vfioscope_vm_references')} > 0`, legend: '{{vm}}' }],
      }),
      graph({
        title: 'Devices',
        description: 'That are tied to each VM.',
        unit: 'none',
        width: 12,
        queries: [{ expr: `${them('vfioscope_vm_devices')} > 0`, legend: '{{vm}}' }],
      }),
    ],
    'What is wrong': [
      table({
        title: 'Devices that are tied to them',
        description: 'Each has a reference on its VM as long as it is open.',
        width: 12,
        labels: { instance: { name: 'Host' }, vm: { name: 'VM' }, device: toDevice },
        hideValues: true,
        values: [
          {
            name: 'Tied',
            unit: 'none',
            expr: `max by (${HOST}, vm, device) (${of('vfioscope_device_vm_info', THIS)})`,
          },
        ],
      }),
      table({
        title: 'Open violations',
        description: 'A click on an id asks the agent for the evidence.',
        width: 12,
        labels: {
          instance: { name: 'Host' },
          rule: { name: 'Rule' },
          severity: { name: 'Severity', colours: SEVERITIES },
          vm: { name: 'VM' },
          device: toDevice,
          id: { name: 'Id', link: violationLink() },
        },
        hideValues: true,
        values: [
          {
            name: 'Open',
            unit: 'none',
            expr: `max by (${VM}, rule, severity, device, id) (${of('vfioscope_violation_info', THIS, 'vm!=""')})`,
          },
        ],
      }),
    ],
  },
};
