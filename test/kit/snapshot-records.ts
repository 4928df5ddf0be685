/**
 * The records of a host snapshot that finds what a world knows, for tests: as bpf/files.bpf.c
 * and src/kernel/snapshot.ts emit them on Linux 6.12, each part as of when it is read.
 */
import { EventCursor } from '../../src/events/cursor.ts';
import { encodeRecord, type RecordFields } from '../../src/events/encoder.ts';
import { POINTS, type PointName } from '../../src/events/points.ts';
import { COVERED, DEVICE_STATE, FLAG } from '../../src/events/wire.gen.ts';
import { Dispatcher } from '../../src/lifecycle/dispatcher.ts';
import type { Device, Vm } from '../../src/lifecycle/objects.ts';
import type { Transition } from '../../src/lifecycle/transition.ts';
import type { World } from '../../src/lifecycle/world.ts';

/** Every part of the host. */
export const ALL_COVERED = COVERED.SYSFS | COVERED.FILES | COVERED.DEBUGFS;

export type SnapshotFields = Partial<Omit<RecordFields, 'point'>>;

/** A record of something found. */
export function snapshotRecord(
  point: PointName,
  time: number,
  fields: SnapshotFields = {},
): Uint8Array {
  const flags = FLAG.EVENT_SNAPSHOT | (fields.flags ?? 0);
  const agent = { pid: 1, tid: 1, comm: 'vfioscope', seq: 0 };
  return encodeRecord({ ...agent, ...fields, time, point: POINTS[point], flags });
}

export function snapshotBegins(time: number): Uint8Array {
  return snapshotRecord('snapshot.run', time);
}

/** @param covered bits of {@link COVERED}: the parts that could be read */
export function snapshotEnds(time: number, covered: number = ALL_COVERED): Uint8Array {
  return snapshotRecord('snapshot.run', time, { flags: FLAG.EVENT_END, covered });
}

export function applyAll(world: World, records: readonly Uint8Array[]): Transition[] {
  const dispatcher = new Dispatcher(world);
  return records.map((bytes) => dispatcher.apply(new EventCursor(bytes.buffer as ArrayBuffer)));
}

/** The number behind a key, as the encoder spread it. */
export function keyOf({ keyLow, keyHigh }: { keyLow: number; keyHigh: number }): number {
  return keyLow === 0 && keyHigh === 0 ? 0 : (keyHigh ^ 0x5bd1e995) >>> 0;
}

export function kvmOf(vm: Vm | undefined): SnapshotFields {
  return vm ? { kvm: keyOf(vm), usersCount: vm.users, vmPid: vm.creatorTid } : {};
}

/** The files of groups, devices and VMs that are in some process. */
export function snapshotFiles(world: World, time = world.now): Uint8Array[] {
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
      const holder = { pid, tid, comm, fd: open.fd };
      const fields = { ...keys, ...holder, ...kvmOf(device.vm), openCount, groupId, names };
      records.push(snapshotRecord('snapshot.open', time, fields));
    }
  }
  for (const { id, vm } of world.groups.values()) {
    records.push(snapshotRecord('snapshot.group', time, { ...kvmOf(vm), groupId: id, names: {} }));
  }
  for (const vm of world.vms) {
    if (vm.state !== 'running') continue;
    const { pid, tid, comm } = vm.task ?? { pid: vm.creatorTid, tid: vm.creatorTid, comm: '' };
    const holder = { pid, tid, comm, fd: vm.fd, names: {} };
    records.push(snapshotRecord('snapshot.vm', time, { ...kvmOf(vm), ...holder }));
  }
  return records;
}

/** Parents and devices, parents last as they are read. */
export function snapshotSysfs(world: World, time = world.now): Uint8Array[] {
  const removing = new Set(
    [...world.calls.at(POINTS['mdev.remove']), ...world.calls.at(POINTS['mdev.remove_child'])].map(
      ({ device }) => device,
    ),
  );
  const devices = [...world.devices].map((device) => seenDevice(world, device, removing, time));
  const parents = [...world.parents]
    .filter(({ state }) => state !== 'unregistering')
    .map(({ name, driver }) =>
      snapshotRecord('snapshot.parent', time, { names: { parent: name, driver } }),
    );
  return [...parents, ...devices.filter((record) => record !== undefined)];
}

function seenDevice(
  world: World,
  device: Device,
  removing: ReadonlySet<Device | undefined>,
  time: number,
): Uint8Array | undefined {
  const { name, bus, parentName, state, groupId, isMdev } = device;
  const inGroup = world.groups.get(groupId)?.devices.includes(device) ?? false;
  const base = { device: name, bus, parent: isMdev ? parentName : '' };
  const record = (deviceState: number, more: { type: string; driver: string }) =>
    snapshotRecord('snapshot.device', time, {
      deviceState,
      groupId: inGroup ? groupId : -1,
      names: { ...base, ...more },
    });
  if (state === 'removing') {
    return inGroup ? record(DEVICE_STATE.LEAVING, { type: '', driver: '' }) : undefined;
  }
  if (!isMdev) return inGroup ? record(0, { type: '', driver: device.driver }) : undefined;
  const { type, driver } = device;
  if (state === 'creating') return record(0, { type: '', driver });
  // Who writes to it takes the file away first.
  const removable = removing.has(device) ? 0 : DEVICE_STATE.REMOVABLE;
  return record(removable, { type, driver: state === 'unbound' ? '' : driver });
}

/** The VMs that debugfs lists. */
export function snapshotDebugfs(world: World, time = world.now): Uint8Array[] {
  return [...world.vms]
    .filter(({ isGone }) => !isGone)
    .map(({ creatorTid, fd }) =>
      snapshotRecord('snapshot.vm_entry', time, { vmPid: creatorTid, fd }),
    );
}

/** All of it at one time. */
export function wholeSnapshot(world: World, covered: number = ALL_COVERED): Uint8Array[] {
  const { now } = world;
  return [
    snapshotBegins(now),
    ...(covered & COVERED.SYSFS ? snapshotSysfs(world) : []),
    ...(covered & COVERED.FILES ? snapshotFiles(world) : []),
    ...(covered & COVERED.DEBUGFS ? snapshotDebugfs(world) : []),
    snapshotEnds(now, covered),
  ];
}
