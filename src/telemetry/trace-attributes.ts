/**
 * The attributes of spans and log records: names of OpenTelemetry's semantic conventions where there
 * is one, otherwise names that begin with `vfio.`. docs/traces.md is generated from this table.
 */
import type { Attributes } from '@opentelemetry/api';
import { errnoName } from '../engine/errno.ts';
import { evidenceLines } from '../engine/evidence.ts';
import type { Violation, VmReference } from '../engine/violation.ts';
import { vmReference } from '../engine/words.ts';
import type { Task } from '../events/task.ts';
import type { Device, Open, Vm } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';

interface Described {
  /** The spans and log records that have it. */
  readonly on: string;
  readonly description: string;
}

export const ATTRIBUTES = {
  'vfio.span.part': {
    on: 'all spans',
    description: '`lifecycle` for the root span of a device or VM, `phase` for a span below it',
  },
  'vfio.segment.number': {
    on: 'all spans',
    description: '1, and more in each continuation of a long span',
  },
  'vfio.segment.last': {
    on: 'all spans',
    description: '`false` where the span continues in another one, `true` where it has ended',
  },
  'vfio.incarnation': {
    on: 'all spans, violations of devices',
    description: 'number of the device or VM, as `incarnation` in the API',
  },
  'vfio.quality': {
    on: 'lifecycles, violations',
    description: '`observed`, `partial` or `unverified`: how completely it was observed',
  },
  'vfio.end.observed': {
    on: 'phases whose end was not observed',
    description: '`false`: the phase ends with the lifecycle, because no event reported its end',
  },
  'vfio.device.name': {
    on: 'devices',
    description: 'UUID of an mdev, bus address of any other device',
  },
  'vfio.device.bus': { on: 'devices', description: '`mdev`, `pci` …' },
  'vfio.device.mdev_type': { on: 'mdevs', description: 'mdev type, such as `mtty-1`' },
  'vfio.device.parent': { on: 'devices', description: 'parent of the mdev' },
  'vfio.device.driver': { on: 'devices', description: 'driver of the device' },
  'vfio.device.iommu_group': {
    on: 'lifecycles of devices',
    description: 'number of its IOMMU group',
  },
  'vfio.device.state': {
    on: 'lifecycles of devices',
    description: 'state at the end of the span; when it has ended, `released` or `failed`',
  },
  'vfio.device.opens': { on: 'lifecycles of devices', description: 'how often it was opened' },
  'vfio.file.descriptor': {
    on: 'opens',
    description: 'file descriptor of the device file in the process',
  },
  'vfio.vm.id': { on: 'VMs, opens, violations', description: 'id of the VM in the API' },
  'vfio.vm.name': { on: 'as `vfio.vm.id`', description: 'name of the guest, if it is known' },
  'vfio.vm.uuid': { on: 'as `vfio.vm.id`', description: 'UUID of the guest, if it is known' },
  'vfio.vm.systemd_unit': { on: 'VMs', description: 'systemd unit of the process that created it' },
  'container.id': { on: 'VMs', description: 'container of the process that created it' },
  'k8s.pod.uid': { on: 'VMs', description: 'UID of the pod of the process that created it' },
  'vfio.violation.id': { on: 'violations', description: 'id of the violation in log and API' },
  'vfio.violation.rule': { on: 'violations', description: 'id of the rule' },
  'vfio.violation.severity': {
    on: 'violations',
    description: '`info`, `warning`, `error` or `critical`',
  },
  'vfio.violation.change': { on: 'violations', description: '`raised`, `escalated` or `resolved`' },
  'vfio.violation.evidence': {
    on: 'violations',
    description: 'the events that prove it, in order',
  },
  'vfio.phase': {
    on: '`vfio.phase.began`',
    description: 'name of the span that will be sent when the phase ends',
  },
  'process.pid': {
    on: 'opens, VMs, violations; create and remove',
    description: 'process that made the call',
  },
  'process.user.id': {
    on: 'as `process.pid`',
    description: 'its uid in the user namespace of the host',
  },
  'thread.id': { on: 'as `process.pid`', description: 'thread that made the call' },
  'thread.name': {
    on: 'as `process.pid`',
    description: 'name of that thread (comm)',
  },
  'error.type': {
    on: 'phases that failed, lifecycles of devices whose creation failed',
    description: 'name of the errno, such as `EBUSY`',
  },
} as const satisfies Readonly<Record<string, Described>>;

/** Attributes of the table above, and no others. */
type Known = { readonly [Name in keyof typeof ATTRIBUTES]?: Attributes[string] };

/** Attributes of each span. @param isLast whether it has ended with it */
export function spanAttributes(
  part: 'lifecycle' | 'phase',
  segment: number,
  isLast: boolean,
): Known {
  return {
    ...{ 'vfio.span.part': part, 'vfio.segment.number': segment, 'vfio.segment.last': isLast },
  };
}

export function taskAttributes(task: Task | undefined): Known {
  if (!task) return {};
  const { pid, tid, comm, uid } = task;
  return {
    ...{ 'process.pid': pid, 'thread.id': tid, 'thread.name': comm },
    ...(uid >= 0 ? { 'process.user.id': uid } : {}),
  };
}

export function deviceAttributes({ name, bus, type, parentName, driver, serial }: Device): Known {
  return {
    ...{ 'vfio.incarnation': serial, 'vfio.device.name': name, 'vfio.device.bus': bus },
    ...(type ? { 'vfio.device.mdev_type': type } : {}),
    ...(parentName ? { 'vfio.device.parent': parentName } : {}),
    ...(driver ? { 'vfio.device.driver': driver } : {}),
  };
}

/** Attributes of the root span of a device. */
export function deviceLifecycleAttributes(device: Device, world: World): Known {
  const { groupId, state, opensTotal, createError } = device;
  return {
    'vfio.quality': world.qualityOf(device),
    ...{ 'vfio.device.state': state, 'vfio.device.opens': opensTotal },
    ...(groupId < 0 ? {} : { 'vfio.device.iommu_group': groupId }),
    ...deviceAttributes(device),
    ...(state === 'failed' ? errorAttributes(createError) : {}),
  };
}

export function vmAttributes(vm: Vm): Known {
  const { unit, container, pod } = vm.identity?.group ?? {};
  return {
    ...{ 'vfio.incarnation': vm.serial, ...guestAttributes(vmReference(vm)) },
    ...(unit ? { 'vfio.vm.systemd_unit': unit } : {}),
    ...(container ? { 'container.id': container } : {}),
    ...(pod ? { 'k8s.pod.uid': pod } : {}),
    ...taskAttributes(vm.task),
  };
}

/** Of whatever concerns a VM. */
function guestAttributes({ id, name, uuid }: VmReference): Known {
  return {
    'vfio.vm.id': id,
    ...(name ? { 'vfio.vm.name': name } : {}),
    ...(uuid ? { 'vfio.vm.uuid': uuid } : {}),
  };
}

/** Attributes of the root span of a VM. */
export function vmLifecycleAttributes(vm: Vm, world: World): Known {
  const quality = world.qualityOf(vm);
  return { 'vfio.quality': quality, ...vmAttributes(vm) };
}

export function openAttributes({ task, fd, vm }: Open): Known {
  return {
    ...taskAttributes(task),
    ...(fd < 0 ? {} : { 'vfio.file.descriptor': fd }),
    ...(vm ? guestAttributes(vmReference(vm)) : {}),
  };
}

/** @param error an errno, 0 for none */
export function errorAttributes(error: number): Known {
  return error > 0 ? { 'error.type': errnoName(error) } : {};
}

export function violationAttributes(violation: Violation, change: string): Known {
  const { id, rule, severity, quality, device, parent, type, vm, process, evidence } = violation;
  const { incarnation } = violation;
  return {
    ...{ 'vfio.violation.id': id, 'vfio.violation.rule': rule, 'vfio.quality': quality },
    ...{ 'vfio.violation.severity': severity, 'vfio.violation.change': change },
    ...(incarnation === undefined ? {} : { 'vfio.incarnation': incarnation }),
    ...(device ? { 'vfio.device.name': device } : {}),
    ...(type ? { 'vfio.device.mdev_type': type } : {}),
    ...(parent ? { 'vfio.device.parent': parent } : {}),
    ...(vm ? guestAttributes(vm) : {}),
    ...taskAttributes(process?.task),
    'vfio.violation.evidence': evidenceLines(evidence),
  };
}
