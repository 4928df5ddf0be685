/** Series of single devices, VMs and open violations. */
import type { Device, Vm } from '../../lifecycle/objects.ts';
import type { Violation } from '../../rules/violation.ts';
import { vmId } from '../../rules/words.ts';
import type {
  LifeMetric,
  LifeMetricGroup,
  LifeSamples,
  MetricsSource,
  ShowLife,
} from './metric.ts';

export const LIVES: LifeMetricGroup = {
  title: 'Single devices, VMs and violations',
  about:
    'The series of a device or VM live as long as it does, and for two scrapes more, whoever makes ' +
    'them, so that its last state is seen; those of a violation until it is resolved. ' +
    '`metrics.per_device: false` switches them off. At most `metrics.max_devices` devices, VMs and ' +
    'violations get them, and `vfioscope_series_capped` tells how many did not. `device` is a UUID ' +
    'or a bus address, `vm` the id that the API uses until the agent restarts.',
  perLife: true,
  metrics: [
    {
      name: 'vfioscope_device_info',
      type: 'gauge',
      labels: ['device', 'parent', 'type', 'driver', 'group'],
      help: 'Always 1; what a device is, and its IOMMU group',
      query:
        'vfioscope_device_open_files * on (instance, device) group_left (parent, type) vfioscope_device_info',
      ofDevice({ parentName, type, driver, groupId }, subject, samples) {
        samples.about(subject, 1, [parentName, type, driver, groupId < 0 ? '' : `${groupId}`]);
      },
    },
    {
      name: 'vfioscope_device_state',
      type: 'gauge',
      labels: ['device', 'state'],
      help: 'Always 1; the state that a device is in: the series of the state before ends',
      query: 'count by (state) (vfioscope_device_state)',
      ofDevice: showState,
    },
    deviceGauge(
      'vfioscope_device_open_files',
      'Device files open, as the kernel counts them',
      'vfioscope_device_open_files > 0',
      ({ openCount }) => openCount,
    ),
    deviceGauge(
      'vfioscope_device_created_timestamp_seconds',
      'When a device was created or registered; not there if that was not seen',
      'time() - vfioscope_device_created_timestamp_seconds',
      (device, source) => timestamp(device.createdAt || device.registeredAt, source),
    ),
    deviceGauge(
      'vfioscope_device_opened_timestamp_seconds',
      'When the device file was opened that has been open longest; not there while none is',
      'time() - vfioscope_device_opened_timestamp_seconds',
      (device, source) => timestamp(openSince(device), source),
    ),
    deviceGauge(
      'vfioscope_device_remove_began_timestamp_seconds',
      'When the removal of a device began; not there before',
      'time() - vfioscope_device_remove_began_timestamp_seconds > 30',
      (device, source) => timestamp(device.removeBegan, source),
    ),
    {
      name: 'vfioscope_device_vm_info',
      type: 'gauge',
      labels: ['device', 'vm'],
      help: 'Always 1; the VM that a device is tied to',
      query: 'count by (instance, vm) (vfioscope_device_vm_info)',
      ofDevice({ vm }, subject, samples) {
        if (vm) samples.about(subject, 1, [vmId(vm)]);
      },
    },
    {
      name: 'vfioscope_device_holder_info',
      type: 'gauge',
      labels: ['device', 'pid', 'comm', 'unit'],
      help: 'Always 1; a process that has a device open that an open violation is about',
      query:
        'vfioscope_device_holder_info * on (instance, device) group_left (parent, type) vfioscope_device_info',
      collect({ violations }, samples) {
        for (const labels of holders(violations)) samples.show(1, labels);
      },
    },
    {
      name: 'vfioscope_violation_info',
      type: 'gauge',
      labels: ['id', 'rule', 'severity', 'device', 'vm', 'parent'],
      help: 'Always 1; a condition that lasts and is not resolved yet: /api/v1/violations/ID tells all',
      query: 'vfioscope_violation_info{rule="remove-stall"}',
      collect({ violations }, samples) {
        for (const { id, rule, severity, device = '', vm, parent = '' } of violations) {
          samples.show(1, [id, rule, severity, device, vm?.id ?? '', parent]);
        }
      },
    },
    {
      name: 'vfioscope_vm_info',
      type: 'gauge',
      labels: ['vm', 'pid', 'comm'],
      help: 'Always 1; who made a VM',
      query: 'vfioscope_vm_references * on (instance, vm) group_left (pid, comm) vfioscope_vm_info',
      ofVm({ task, makerTid }, subject, samples) {
        samples.about(subject, 1, [`${task?.pid ?? makerTid}`, task?.comm ?? '']);
      },
    },
    {
      name: 'vfioscope_vm_state',
      type: 'gauge',
      labels: ['vm', 'state'],
      help: 'Always 1; the state that a VM is in: the series of the state before ends',
      query: 'vfioscope_vm_state{state="released"}',
      ofVm: showState,
    },
    vmGauge(
      'vfioscope_vm_references',
      "References that keep a VM alive, the kernel's users_count; not there until it was seen",
      'vfioscope_vm_references and on (instance, vm) vfioscope_vm_state{state="released"}',
      ({ users }) => (users < 0 ? undefined : users),
    ),
    vmGauge(
      'vfioscope_vm_devices',
      'Devices that are tied to a VM',
      'vfioscope_vm_devices and on (instance, vm) vfioscope_vm_state{state="released"}',
      ({ devices }) => devices.size,
    ),
    vmGauge(
      'vfioscope_vm_fd_closed_timestamp_seconds',
      'When the last file descriptor of a VM was closed that lives on; not there before',
      'time() - vfioscope_vm_fd_closed_timestamp_seconds > 60',
      ({ fdClosedAt }, source) => timestamp(fdClosedAt, source),
    ),
    {
      name: 'vfioscope_series_capped',
      type: 'gauge',
      labels: ['object'],
      help: 'Devices, VMs and open violations without series of their own, because there are more than metrics.max_devices',
      query: 'sum by (instance) (vfioscope_series_capped) > 0',
      collect({ capped }, samples) {
        for (const [object, count] of Object.entries(capped)) samples.show(count, [object]);
      },
    },
  ],
};

/** @param value undefined where there is nothing to show */
type ValueOf<T> = (life: T, source: MetricsSource) => number | undefined;

function deviceGauge(
  name: string,
  help: string,
  query: string,
  value: ValueOf<Device>,
): LifeMetric {
  return { name, type: 'gauge', labels: ['device'], help, query, ofDevice: showValue(value) };
}

function vmGauge(name: string, help: string, query: string, value: ValueOf<Vm>): LifeMetric {
  return { name, type: 'gauge', labels: ['vm'], help, query, ofVm: showValue(value) };
}

function showValue<T>(value: ValueOf<T>): ShowLife<T> {
  return (life, subject, samples, source) => {
    const shown = value(life, source);
    if (shown !== undefined) samples.about(subject, shown);
  };
}

function showState({ state }: Device | Vm, subject: string, samples: LifeSamples): void {
  samples.about(subject, 1, [state]);
}

/**
 * Whole seconds, so that a clock that is being corrected does not change them.
 * @param at ns on the boot-time clock, 0 for never
 */
function timestamp(at: number, source: MetricsSource): number | undefined {
  return at === 0 ? undefined : Math.round(source.sinceEpoch(at));
}

/** ns on the boot-time clock, 0 when it is not open, or nobody saw since when. */
function openSince({ opens }: Device): number {
  let since = 0;
  for (const { state, openedAt } of opens) {
    if (state === 'open' && openedAt > 0 && (since === 0 || openedAt < since)) since = openedAt;
  }
  return since;
}

/** Who has which device, each once, though several violations may name them. */
function holders(violations: Iterable<Violation>): Iterable<readonly string[]> {
  const found = new Map<string, readonly string[]>();
  for (const { holders } of violations) {
    for (const { holds, how, device = '', task, group } of holders) {
      if (holds !== 'device' || how === 'passed on') continue;
      found.set(`${device} ${task.pid}`, [device, `${task.pid}`, task.comm, group?.unit ?? '']);
    }
  }
  return found.values();
}
