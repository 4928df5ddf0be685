/**
 * What spans and log records say: names of OpenTelemetry's semantic conventions where they have
 * one, `vfio.` where not. docs/traces.md is made from this table.
 */
import type { Attributes } from '@opentelemetry/api';
import type { Device, Open, Task, Vm } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { errnoName } from '../rules/errno.ts';
import { evidenceLines } from '../rules/evidence.ts';
import type { Violation } from '../rules/violation.ts';
import { vmId } from '../rules/words.ts';

interface Described {
  /** Which spans and records have it. */
  readonly on: string;
  readonly meaning: string;
}

export const ATTRIBUTES = {
  'vfio.span.part': {
    on: 'all spans',
    meaning: '`life` of the span of a whole life, `phase` of a span that is a part of one',
  },
  'vfio.life': { on: 'all spans', meaning: 'the number of the life, as the API shows it' },
  'vfio.quality': {
    on: 'lives, violations',
    meaning: '`observed`, `late` or `tainted`: how much of it was seen',
  },
  'vfio.end.seen': {
    on: 'phases that the life outlived',
    meaning: '`false`: no event told the end, so it is that of the life',
  },
  'vfio.device.name': { on: 'devices', meaning: 'UUID of an mdev, bus address of others' },
  'vfio.device.bus': { on: 'devices', meaning: '`mdev`, `pci` …' },
  'vfio.device.type': { on: 'devices', meaning: 'mdev type, such as `mtty-1`' },
  'vfio.device.parent': { on: 'devices', meaning: 'what offers the mdev' },
  'vfio.device.driver': { on: 'devices', meaning: 'what serves the device' },
  'vfio.device.iommu_group': { on: 'lives of devices', meaning: 'number of its IOMMU group' },
  'vfio.device.state': { on: 'lives of devices', meaning: 'the last: `released` or `failed`' },
  'vfio.device.opens': { on: 'lives of devices', meaning: 'how often it was opened' },
  'vfio.file.descriptor': { on: 'opens', meaning: 'of the device file, in the process' },
  'vfio.vm.id': { on: 'VMs, opens, violations', meaning: 'the id of the VM in the API' },
  'vfio.violation.id': { on: 'violations', meaning: 'its id in log and API' },
  'vfio.violation.rule': { on: 'violations', meaning: 'the rule that was broken' },
  'vfio.violation.severity': {
    on: 'violations',
    meaning: '`info`, `warning`, `error` or `critical`',
  },
  'vfio.violation.change': { on: 'violations', meaning: '`raised`, `escalated` or `resolved`' },
  'vfio.violation.evidence': { on: 'violations', meaning: 'the events that prove it, in order' },
  'vfio.phase': { on: '`vfio.phase.began`', meaning: 'the name of the span that will be its own' },
  'process.pid': {
    on: 'opens, VMs, violations; create and remove',
    meaning: 'who made the call',
  },
  'process.user.id': { on: 'as `process.pid`', meaning: 'its user, as the host knows it' },
  'thread.id': { on: 'as `process.pid`', meaning: 'the calling thread' },
  'thread.name': {
    on: 'as `process.pid`',
    meaning: 'the name of that thread, which the kernel calls comm',
  },
  'error.type': { on: 'phases that failed', meaning: 'the name of the errno, such as `EBUSY`' },
} as const satisfies Readonly<Record<string, Described>>;

/** Only what the table tells. */
type Told = { readonly [Name in keyof typeof ATTRIBUTES]?: Attributes[string] };

export function taskAttributes(task: Task | undefined): Told {
  if (!task) return {};
  const { pid, tid, comm, uid } = task;
  return {
    ...{ 'process.pid': pid, 'thread.id': tid, 'thread.name': comm },
    ...(uid >= 0 ? { 'process.user.id': uid } : {}),
  };
}

export function deviceAttributes({ name, bus, type, parentName, driver, serial }: Device): Told {
  return {
    ...{ 'vfio.life': serial, 'vfio.device.name': name, 'vfio.device.bus': bus },
    ...(type ? { 'vfio.device.type': type } : {}),
    ...(parentName ? { 'vfio.device.parent': parentName } : {}),
    ...(driver ? { 'vfio.device.driver': driver } : {}),
  };
}

/** Of a device whose life is over. */
export function deviceLifeAttributes(device: Device, world: World): Told {
  const { groupId, state, opensTotal } = device;
  return {
    ...{ 'vfio.span.part': 'life', 'vfio.quality': world.qualityOf(device) },
    ...{ 'vfio.device.state': state, 'vfio.device.opens': opensTotal },
    ...(groupId < 0 ? {} : { 'vfio.device.iommu_group': groupId }),
    ...deviceAttributes(device),
  };
}

export function vmAttributes(vm: Vm): Told {
  return { 'vfio.life': vm.serial, 'vfio.vm.id': vmId(vm), ...taskAttributes(vm.task) };
}

/** Of a VM whose life is over. */
export function vmLifeAttributes(vm: Vm, world: World): Told {
  const quality = world.qualityOf(vm);
  return { 'vfio.span.part': 'life', 'vfio.quality': quality, ...vmAttributes(vm) };
}

export function openAttributes({ task, fd, vm }: Open): Told {
  return {
    ...taskAttributes(task),
    ...(fd < 0 ? {} : { 'vfio.file.descriptor': fd }),
    ...(vm ? { 'vfio.vm.id': vmId(vm) } : {}),
  };
}

/** @param error an errno, 0 for none */
export function errorAttributes(error: number): Told {
  return error > 0 ? { 'error.type': errnoName(error) } : {};
}

export function violationAttributes(violation: Violation, change: string): Told {
  const { id, rule, severity, quality, device, parent, type, vm, process, evidence } = violation;
  return {
    ...{ 'vfio.violation.id': id, 'vfio.violation.rule': rule, 'vfio.quality': quality },
    ...{ 'vfio.violation.severity': severity, 'vfio.violation.change': change },
    ...(device ? { 'vfio.device.name': device } : {}),
    ...(type ? { 'vfio.device.type': type } : {}),
    ...(parent ? { 'vfio.device.parent': parent } : {}),
    ...(vm ? { 'vfio.vm.id': vm.id } : {}),
    ...taskAttributes(process?.task),
    'vfio.violation.evidence': evidenceLines(evidence),
  };
}
