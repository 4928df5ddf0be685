/**
 * What a look at the host would tell of what a world knows, for tests: as bpf/files.bpf.c
 * and src/kernel/look.ts tell it of Linux 6.12, each part as of the moment it is read.
 */
import { EventCursor } from '../events/cursor.ts';
import { encodeRecord, type RecordFields } from '../events/encoder.ts';
import { FLAG } from '../events/wire.gen.ts';
import type { Moment } from '../lifecycle/moment.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import { POINTS, type PointName } from '../lifecycle/points.ts';
import type { World } from '../lifecycle/world.ts';

/** enum seen and enum device_state of bpf/event.h. */
export const SEEN = { sysfs: 1, files: 2, debugfs: 4, all: 7 } as const;
export const SHOWN = { removable: 1, leaving: 2 } as const;

export type SeenFields = Partial<Omit<RecordFields, 'point'>>;

/** A record of something found. */
export function seenRecord(point: PointName, time: number, fields: SeenFields = {}): Uint8Array {
  const flags = FLAG.EVENT_SEEN | (fields.flags ?? 0);
  const agent = { pid: 1, tid: 1, comm: 'vfioscope', seq: 0 };
  return encodeRecord({ ...agent, ...fields, time, point: POINTS[point], flags });
}

export function lookBegins(time: number): Uint8Array {
  return seenRecord('seen.snapshot', time);
}

/** @param parts of {@link SEEN}, that could be looked at */
export function lookEnds(time: number, parts: number = SEEN.all): Uint8Array {
  return seenRecord('seen.snapshot', time, { flags: FLAG.EVENT_END, ret: parts });
}

export function applyAll(world: World, records: readonly Uint8Array[]): Moment[] {
  return records.map((bytes) => world.apply(new EventCursor(bytes.buffer as ArrayBuffer)));
}

/** The number behind a key, as the encoder spread it. */
export function keyOf({ keyLow, keyHigh }: { keyLow: number; keyHigh: number }): number {
  return keyLow === 0 && keyHigh === 0 ? 0 : (keyHigh ^ 0x5bd1e995) >>> 0;
}

function kvmOf(vm: Vm | undefined): SeenFields {
  return vm ? { kvm: keyOf(vm), usersCount: vm.users, vmPid: vm.makerTid } : {};
}

/** The files of groups, devices and VMs that are in some process. */
export function seenFiles(world: World, time = world.now): Uint8Array[] {
  const records: Uint8Array[] = [];
  for (const device of world.devices) {
    for (const open of device.opens) {
      // Not yet, or no longer, in its process' table.
      if (open.state !== 'open' || open.fd < 0) continue;
      const { pid, tid, comm } = open.task;
      const vdev = { keyLow: device.vdevLow, keyHigh: device.vdevHigh };
      const keys = { dev: keyOf(device), vdev: keyOf(vdev), file: keyOf(open) };
      const { openCount, groupId, name, bus, driver, parentName } = device;
      const names = { device: name, bus, driver, parent: parentName };
      const holder = { pid, tid, comm, ret: open.fd };
      const fields = { ...keys, ...holder, ...kvmOf(device.vm), openCount, groupId, names };
      records.push(seenRecord('seen.open', time, fields));
    }
  }
  for (const { id, vm } of world.groups.values()) {
    records.push(seenRecord('seen.group', time, { ...kvmOf(vm), groupId: id, names: {} }));
  }
  for (const vm of world.vms) {
    if (vm.state !== 'running') continue;
    const { pid, tid, comm } = vm.task ?? { pid: vm.makerTid, tid: vm.makerTid, comm: '' };
    const holder = { pid, tid, comm, ret: vm.fd, names: {} };
    records.push(seenRecord('seen.vm', time, { ...kvmOf(vm), ...holder }));
  }
  return records;
}

/** Parents and devices, parents last as they are read. */
export function seenSysfs(world: World, time = world.now): Uint8Array[] {
  const removing = new Set(world.removing.values());
  const devices = [...world.devices].map((device) => seenDevice(world, device, removing, time));
  const parents = [...world.parents]
    .filter(({ state }) => state !== 'unregistering')
    .map(({ name, driver }) =>
      seenRecord('seen.parent', time, { names: { parent: name, driver } }),
    );
  return [...parents, ...devices.filter((record) => record !== undefined)];
}

function seenDevice(
  world: World,
  device: Device,
  removing: ReadonlySet<Device>,
  time: number,
): Uint8Array | undefined {
  const { name, bus, parentName, state, groupId, isMdev } = device;
  const inGroup = world.groups.get(groupId)?.devices.has(device) ?? false;
  const base = { device: name, bus, parent: isMdev ? parentName : '' };
  const record = (ret: number, more: { type: string; driver: string }) =>
    seenRecord('seen.device', time, {
      ret,
      groupId: inGroup ? groupId : -1,
      names: { ...base, ...more },
    });
  if (state === 'removing') {
    return inGroup ? record(SHOWN.leaving, { type: '', driver: '' }) : undefined;
  }
  if (!isMdev) return inGroup ? record(0, { type: '', driver: device.driver }) : undefined;
  const { type, driver } = device;
  if (state === 'creating') return record(0, { type: '', driver });
  // Who writes to it takes the file away first.
  const removable = removing.has(device) ? 0 : SHOWN.removable;
  return record(removable, { type, driver: state === 'unbound' ? '' : driver });
}

/** The VMs that debugfs lists. */
export function seenDebugfs(world: World, time = world.now): Uint8Array[] {
  return [...world.vms].map(({ makerTid, fd }) =>
    seenRecord('seen.vm_entry', time, { vmPid: makerTid, ret: fd }),
  );
}

/** All of it at one moment. */
export function wholeLook(world: World, parts: number = SEEN.all): Uint8Array[] {
  const { now } = world;
  return [
    lookBegins(now),
    ...(parts & SEEN.sysfs ? seenSysfs(world) : []),
    ...(parts & SEEN.files ? seenFiles(world) : []),
    ...(parts & SEEN.debugfs ? seenDebugfs(world) : []),
    lookEnds(now, parts),
  ];
}
