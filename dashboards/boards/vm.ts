/** One VM: its references, its devices and who holds them, to answer why it does not stop. */
import type { Board } from '../board.ts';
import { VM_STATES } from '../colours.ts';
import { FULL_WIDTH, graph, stat, table, timeline } from '../panels.ts';
import { DEVICE, ofHost, stateCodes, VM } from '../promql.ts';
import { cluster, host, single, vm } from '../variables.ts';
import {
  deviceColumns,
  deviceStates,
  holdersTable,
  TOO_LONG,
  toDevice,
  violationsTable,
} from './devices.ts';

const { selector } = ofHost;
const VM_MATCHER = 'vm="$vm"';
const ofVm = (metric: string) => `max by (${VM}) (${selector(metric, VM_MATCHER)})`;
const state = stateCodes(VM, 'state', VM_STATES, (is) =>
  selector('vfioscope_vm_state', VM_MATCHER, is),
);
const sinceClosed = `time() - ${ofVm('vfioscope_vm_fd_closed_timestamp_seconds')} and on (${VM}) ${selector('vfioscope_vm_state', VM_MATCHER, 'state="zombie"')}`;
const violations = selector('vfioscope_violation_info', VM_MATCHER);
/** Restricts series of devices to those of the VM. */
const assigned = (expr: string) =>
  `(${expr}) and on (${DEVICE}) ${selector('vfioscope_device_vm_info', VM_MATCHER)}`;
export const VM_BOARD: Board = {
  name: 'vm',
  title: 'VM',
  description: 'Why a VM does not stop: its references, its devices, and who holds them.',
  variables: [cluster, single(host), vm],
  annotations: {
    expr: `max by (${VM}, rule, severity, device) (${violations})`,
    text: 'Open on VM {{vm}} of {{instance}}, device {{device}}.',
  },
  rows: {
    'Why it does not stop': [
      stat({
        title: 'State',
        description:
          'The current state. A zombie VM has no file descriptor any more, and the kernel has not freed it: a ' +
          'device is still open, or a reference was leaked.',
        unit: 'none',
        width: 4,
        codes: VM_STATES,
        expr: state,
      }),
      stat({
        title: 'Zombie for',
        description: 'The time since the last file descriptor of the VM was closed.',
        unit: 's',
        width: 4,
        thresholds: TOO_LONG,
        none: 'no zombie',
        expr: sinceClosed,
      }),
      stat({
        title: 'References',
        description:
          "The kernel's users_count. References that remain after the file descriptors are closed belong to a device, or are leaked.",
        unit: 'none',
        width: 4,
        expr: ofVm('vfioscope_vm_references'),
      }),
      stat({
        title: 'Devices',
        description:
          'Devices that are assigned to the VM. Each holds a reference while it is open.',
        unit: 'none',
        width: 4,
        expr: ofVm('vfioscope_vm_devices'),
      }),
      stat({
        title: 'Open files of its devices',
        description: 'Open files of all devices that are assigned to the VM.',
        unit: 'none',
        width: 4,
        none: '0',
        expr: `sum(${assigned(selector('vfioscope_device_open_files'))})`,
      }),
      stat({
        title: 'Open violations',
        description: 'Ongoing violations of the VM that are not resolved.',
        unit: 'none',
        width: 4,
        thresholds: [[1, 'red']],
        none: '0',
        expr: `count(${violations})`,
      }),
      holdersTable({
        title: 'Holders of its devices',
        description:
          'Processes that hold a device of the VM, and with it the VM. Neither is freed before they close it. ' +
          'Listed while a violation of the device or the VM is open.',
        width: 14,
        height: 6,
        none: 'no holder known; without devices, the reference is a file of the VM or is leaked',
        of: { device: toDevice },
        expr: assigned(
          `max by (${DEVICE}, pid, comm, systemd_unit) (${selector('vfioscope_device_holder_info')})`,
        ),
      }),
      violationsTable({
        title: 'Open violations',
        description:
          'Violations that are not resolved. The id links to the evidence in the API of the agent, which names ' +
          'all holders, also those of the VM itself.',
        width: 10,
        height: 6,
        none: 'none',
        expr: `max by (${VM}, rule, severity, violation_id) (${violations})`,
      }),
      table({
        title: 'Assigned devices',
        description: 'Each device holds a reference on the VM as long as it is open.',
        width: FULL_WIDTH,
        height: 5,
        none: 'none',
        sortBy: 'Open for',
        labels: { instance: { name: 'Host' }, device: toDevice },
        values: deviceColumns(assigned(deviceStates()), assigned),
      }),
      table({
        title: 'Identity',
        description:
          'Name and UUID of the guest, as far as they are known, and the process that created the VM.',
        width: FULL_WIDTH,
        height: 4,
        labels: {
          instance: { name: 'Host' },
          vm: { name: 'VM' },
          vm_name: { name: 'Name' },
          vm_uuid: { name: 'UUID' },
          pid: { name: 'Process' },
          comm: { name: 'Command' },
          systemd_unit: { name: 'systemd unit' },
        },
        hideValues: true,
        values: [
          {
            name: 'Info',
            unit: 'none',
            expr: `max by (${VM}, vm_name, vm_uuid, pid, comm, systemd_unit) (${selector('vfioscope_vm_info', VM_MATCHER)})`,
          },
        ],
      }),
    ],
    Lifecycle: [
      timeline({
        title: 'State',
        description:
          'A long orange bar is a zombie VM: no process has its file descriptor, and it is not freed.',
        width: FULL_WIDTH,
        height: 4,
        codes: VM_STATES,
        queries: [{ expr: state, legend: '{{vm}}' }],
      }),
      graph({
        title: 'References over time',
        description: "The kernel's users_count of the VM.",
        unit: 'none',
        width: 12,
        queries: [{ expr: ofVm('vfioscope_vm_references'), legend: 'references' }],
      }),
      graph({
        title: 'Devices over time',
        description: 'Devices that are assigned to the VM.',
        unit: 'none',
        width: 12,
        queries: [{ expr: ofVm('vfioscope_vm_devices'), legend: 'devices' }],
      }),
    ],
  },
};
