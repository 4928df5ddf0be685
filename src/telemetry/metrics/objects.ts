/** Series of single devices, VMs and open violations. */

import type { Holder, Violation } from '../../engine/violation.ts';
import { vmId } from '../../engine/words.ts';
import type { Device, Vm } from '../../lifecycle/objects.ts';
import type { ObjectMetric, ObjectMetricGroup, ShowObject } from './metric.ts';
import type { MetricsSource } from './source.ts';

export const OBJECTS: ObjectMetricGroup = {
  title: 'Single devices, VMs and violations',
  about:
    'A device or VM has series while it exists and for two more minutes, so that its last state is ' +
    'recorded; an ongoing violation has them until it is resolved. ' +
    '`metrics.per_device: false` disables them. At most `metrics.max_devices` devices, VMs and ' +
    'violations have series; `vfioscope_series_capped` counts the rest. `device` is a UUID or a bus ' +
    'address; `vm` is the id in the API, which changes when the agent restarts. States of an object are one ' +
    'series that moves, not one for each state: with state sets, 1,000 devices and VMs would have 12,000 ' +
    'series more, of which 11 in 12 are 0. Ask `vfioscope_devices` or `vfioscope_vms` for states that are absent.',
  perObject: true,
  metrics: [
    {
      name: 'vfioscope_device_info',
      type: 'gauge',
      labels: [
        ...['device', 'parent', 'mdev_type', 'driver', 'iommu_group'],
        ...['physical_function', 'vendor_id', 'device_id', 'numa_node', 'pci_bus_id'],
      ],
      help: 'Always 1; parent, mdev type, driver and IOMMU group of a device, and the PCI function that it or its parent is',
      query:
        'vfioscope_device_open_files * on (instance, device) group_left (parent, mdev_type) vfioscope_device_info',
      ofDevice({ parentName, type, driver, groupId, pci }, subject, samples) {
        samples.about(subject, 1, [
          ...[parentName, type, driver, groupId < 0 ? '' : `${groupId}`],
          ...[pci?.physicalFunction ?? '', pci?.vendor ?? '', pci?.device ?? ''],
          ...[pci && pci.numaNode >= 0 ? `${pci.numaNode}` : '', pci?.busId ?? ''],
        ]);
      },
    },
    {
      name: 'vfioscope_device_state',
      type: 'gauge',
      labels: ['device', 'state'],
      help: 'Always 1; the current state of a device (the series of its former state ends)',
      query: 'count by (state) (vfioscope_device_state)',
      ofDevice: (device, subject, samples, { stateOf }) =>
        samples.about(subject, 1, [stateOf(device)]),
    },
    deviceGauge(
      'vfioscope_device_open_files',
      'Open files of a device, as counted by the kernel (open_count)',
      'vfioscope_device_open_files > 0',
      ({ openCount }) => openCount,
    ),
    deviceGauge(
      'vfioscope_device_created_timestamp_seconds',
      'When a device was created or registered; absent if that was not observed',
      'time() - vfioscope_device_created_timestamp_seconds',
      (device, source) => timestamp(device.createdAt || device.registeredAt, source),
    ),
    deviceGauge(
      'vfioscope_device_opened_timestamp_seconds',
      'When the device file that has been open longest was opened; absent while none is open',
      'time() - vfioscope_device_opened_timestamp_seconds',
      (device, source) => timestamp(openSince(device), source),
    ),
    deviceGauge(
      'vfioscope_device_remove_began_timestamp_seconds',
      'When the removal of a device began; absent before',
      'time() - vfioscope_device_remove_began_timestamp_seconds > 30',
      (device, source) => timestamp(device.removeBegan, source),
    ),
    {
      name: 'vfioscope_device_vm_info',
      type: 'gauge',
      labels: ['device', 'vm'],
      help: 'Always 1; the VM that a device is assigned to',
      query: 'count by (instance, vm) (vfioscope_device_vm_info)',
      ofDevice({ vm }, subject, samples) {
        if (vm) samples.about(subject, 1, [vmId(vm)]);
      },
    },
    {
      name: 'vfioscope_device_holder_info',
      type: 'gauge',
      labels: ['device', 'pid', 'comm', 'systemd_unit'],
      help: 'Always 1; a process that holds open a device with an ongoing violation',
      query:
        'vfioscope_device_holder_info * on (instance, device) group_left (parent, mdev_type) vfioscope_device_info',
      collect({ violations }, samples) {
        for (const labels of holders(violations)) samples.show(1, labels);
      },
    },
    {
      name: 'vfioscope_violation_info',
      type: 'gauge',
      labels: ['violation_id', 'rule', 'severity', 'device', 'vm', 'vm_name', 'parent'],
      help: 'Always 1; an ongoing violation that is not resolved (details: /api/v1/violations/VIOLATION_ID)',
      query: 'vfioscope_violation_info{rule="remove-stall"}',
      collect({ violations }, samples) {
        for (const { id, rule, severity, device = '', vm, parent = '' } of violations) {
          const names = [vm?.id ?? '', vm?.name ?? ''];
          samples.show(1, [id, rule, severity, device, ...names, parent]);
        }
      },
    },
    {
      name: 'vfioscope_vm_info',
      type: 'gauge',
      labels: [
        ...['vm', 'pid', 'comm', 'vm_name', 'vm_uuid'],
        ...['systemd_unit', 'container_id', 'pod_uid', 'trace_id'],
      ],
      help: 'Always 1; the process that created a VM, and how the operator knows the VM (labels that are not known are empty)',
      query:
        'vfioscope_vm_references * on (instance, vm) group_left (vm_name, pid, comm) vfioscope_vm_info',
      ofVm(vm, subject, samples, { source }) {
        const { task, creatorTid, identity: { name = '', uuid = '', group } = {} } = vm;
        samples.about(subject, 1, [
          ...[`${task?.pid ?? creatorTid}`, task?.comm ?? '', name, uuid],
          ...[group?.unit ?? '', group?.container ?? '', group?.pod ?? ''],
          source.traceIdOf(vm) ?? '',
        ]);
      },
    },
    {
      name: 'vfioscope_vm_state',
      type: 'gauge',
      labels: ['vm', 'state'],
      help: 'Always 1; the current state of a VM (the series of its former state ends)',
      query: 'vfioscope_vm_state{state="zombie"}',
      ofVm: ({ state }, subject, samples) => samples.about(subject, 1, [state]),
    },
    vmGauge(
      'vfioscope_vm_references',
      "References that keep a VM alive (the kernel's users_count); absent until it is observed",
      'vfioscope_vm_references and on (instance, vm) vfioscope_vm_state{state="zombie"}',
      ({ users }) => (users < 0 ? undefined : users),
    ),
    vmGauge(
      'vfioscope_vm_devices',
      'Devices that are assigned to a VM',
      'vfioscope_vm_devices and on (instance, vm) vfioscope_vm_state{state="zombie"}',
      ({ devices }) => devices.length,
    ),
    vmGauge(
      'vfioscope_vm_fd_closed_timestamp_seconds',
      'When the last file descriptor of a VM was closed; absent before',
      'time() - vfioscope_vm_fd_closed_timestamp_seconds > 60',
      ({ fdClosedAt }, source) => timestamp(fdClosedAt, source),
    ),
    {
      name: 'vfioscope_series_capped',
      type: 'gauge',
      labels: ['object'],
      help: 'Devices, VMs and ongoing violations without series of their own, because there are more than metrics.max_devices',
      query: 'sum by (instance) (vfioscope_series_capped) > 0',
      collect({ capped }, samples) {
        for (const [object, count] of Object.entries(capped)) samples.show(count, [object]);
      },
    },
  ],
};

/** @returns undefined for no series */
type ValueOf<T> = (object: T, source: MetricsSource) => number | undefined;

function deviceGauge(
  name: string,
  help: string,
  query: string,
  value: ValueOf<Device>,
): ObjectMetric {
  return { name, type: 'gauge', labels: ['device'], help, query, ofDevice: showValue(value) };
}

function vmGauge(name: string, help: string, query: string, value: ValueOf<Vm>): ObjectMetric {
  return { name, type: 'gauge', labels: ['vm'], help, query, ofVm: showValue(value) };
}

function showValue<T>(value: ValueOf<T>): ShowObject<T> {
  return (object, subject, samples, { source }) => {
    const shown = value(object, source);
    if (shown !== undefined) samples.about(subject, shown);
  };
}

/**
 * Whole seconds, so that corrections of the wall clock do not change the value.
 * @param at ns on the boot-time clock, 0 for never
 */
function timestamp(at: number, source: MetricsSource): number | undefined {
  return at === 0 ? undefined : Math.round(source.sinceEpoch(at));
}

/** ns on the boot-time clock; 0 if the device is not open, or the time was not observed. */
function openSince({ opens }: Device): number {
  let since = 0;
  for (const { state, openedAt } of opens) {
    if (state === 'open' && openedAt > 0 && (since === 0 || openedAt < since)) since = openedAt;
  }
  return since;
}

/** By a descriptor, or by a mapping. */
const HOLDS_DEVICE: ReadonlySet<Holder['holds']> = new Set(['device', 'mapping', 'cdev']);
/** Openers that do not hold the device any more, and whoever has a file of a device that is not known. */
const HAS_NONE: ReadonlySet<Holder['how']> = new Set(['gone', 'passed on', 'closed', 'may hold']);

/** The processes that hold devices open, each pair once although several violations may name it. */
function holders(violations: Iterable<Violation>): Iterable<readonly string[]> {
  const found = new Map<string, readonly string[]>();
  for (const { holders } of violations) {
    for (const { holds, how, device = '', task, group } of holders) {
      if (!HOLDS_DEVICE.has(holds) || HAS_NONE.has(how)) continue;
      found.set(`${device} ${task.pid}`, [device, `${task.pid}`, task.comm, group?.unit ?? '']);
    }
  }
  return found.values();
}
