/**
 * The host snapshot: what exists on this host now, as records of the wire format.
 * Parents and devices come from sysfs, open files from the kernel's own lists of
 * files, VMs also from debugfs, and who is removing something from /proc.
 */
import { messageOf } from '../errors.ts';
import { EventCursor } from '../events/cursor.ts';
import { encodeRecord, type RecordFields } from '../events/encoder.ts';
import { POINTS, type PointName } from '../events/points.ts';
import { COVERED, DEVICE_STATE, FLAG, WIRE } from '../events/wire.gen.ts';
import { type Problem, problemData, UserProblem } from '../problem.ts';
import { readDebugVms } from './debugfs.ts';
import { bootTime } from './os.ts';
import type { SnapshotFiles } from './snapshot-files.ts';
import { type HostDevice, type HostParent, readDevices, readParents } from './sysfs.ts';
import { inode } from './sysfs-files.ts';
import {
  type FoundRemoval,
  type NamedTeardown,
  nameTeardowns,
  readTeardowns,
} from './teardowns.ts';

export interface Found {
  /**
   * Each record on its own, or several in one array: parents before their devices,
   * devices before their files, and last the end of the snapshot.
   */
  readonly records: readonly Uint8Array[];
  /** What could not be read, and why. */
  readonly problems: readonly Problem[];
}

/** The record with which a snapshot begins. @param pid the process that takes it */
export function snapshotBegins(pid = process.pid): Uint8Array {
  return record('snapshot.run', { pid });
}

/** @param files an error where the files of processes cannot be listed */
export async function snapshot(files: SnapshotFiles | Error): Promise<Found> {
  const problems: Problem[] = [];
  let covered = 0;
  const attempt = async (part: number, read: () => Promise<Uint8Array[]>) => {
    try {
      const records = await read();
      covered |= part;
      return records;
    } catch (error) {
      problems.push(problemOf(error));
      return [];
    }
  };
  // Files first: what they belong to then existed before the rest is read.
  const open = await attempt(COVERED.FILES, async () => {
    if (files instanceof Error) {
      throw new UserProblem(
        'snapshot.files-unreadable',
        `the open files of processes cannot be read: ${files.message}`,
        'report it with the output of vfioscope doctor --json',
      );
    }
    return [await files.records()];
  });
  const there = await attempt(COVERED.SYSFS, async () => {
    const devices = await readDevices();
    const parents = await readParents();
    const { removals, unregistrations } = nameTeardowns(await readTeardowns(), devices, parents);
    return [
      ...[...parents.map(parentRecord), ...devices.map(deviceRecord)],
      ...[...removals.map(removalRecord), ...unregistrations.map(unregisterRecord)],
    ];
  });
  const listed = await attempt(COVERED.DEBUGFS, async () => {
    const vms = readDebugVms();
    if (!vms) {
      throw new UserProblem(
        'snapshot.debugfs-unreadable',
        'debugfs cannot be read, so VMs that no process holds are not found',
        'mount it (mount -t debugfs debugfs /sys/kernel/debug), and run vfioscope as root',
      );
    }
    if (vms === 'no kvm') {
      covered |= COVERED.NO_KVM;
      return [];
    }
    return vms.map(({ tid, fd }) => record('snapshot.vm_entry', { vmPid: tid, fd }));
  });
  const end = record('snapshot.run', { flags: FLAG.EVENT_END, covered });
  return { records: [...there, ...open, ...listed, end], problems };
}

function problemOf(error: unknown): Problem {
  if (error instanceof UserProblem) return problemData(error);
  return {
    code: 'snapshot.part-failed',
    message: messageOf(error),
    next: 'please report it',
  };
}

/** Passes every record of an array from {@link snapshot} to `receive`. */
export function eachRecord(records: Uint8Array, receive: (event: EventCursor) => void): void {
  const cursor = new EventCursor(records.buffer as ArrayBuffer, records.byteOffset);
  const size = records.length % WIRE.namedSize === 0 ? WIRE.namedSize : WIRE.eventSize;
  for (let at = 0; at < records.length; at += size) {
    cursor.moveTo(at);
    receive(cursor);
  }
}

function parentRecord({ name, driver }: HostParent): Uint8Array {
  return record('snapshot.parent', { names: { parent: name, driver } });
}

function deviceRecord(device: HostDevice): Uint8Array {
  const { name, bus, type, parent, driver, groupId, removable, leaving } = device;
  const deviceState =
    (removable ? DEVICE_STATE.REMOVABLE : 0) | (leaving ? DEVICE_STATE.LEAVING : 0);
  return record('snapshot.device', {
    deviceState,
    groupId,
    inode: bus === 'mdev' ? inode(`/sys/bus/mdev/devices/${name}`) : 0,
    names: { device: name, bus, type, parent, driver },
  });
}

function removalRecord({ task, name, bus, parent, ...how }: FoundRemoval): Uint8Array {
  const { waits, inDriver, isInferred } = how;
  const deviceState =
    (waits ? DEVICE_STATE.WAITING : 0) |
    (inDriver ? DEVICE_STATE.IN_DRIVER : 0) |
    (isInferred ? DEVICE_STATE.INFERRED : 0);
  return record('snapshot.removal', { ...task, deviceState, names: { device: name, bus, parent } });
}

function unregisterRecord({ task, name, isInferred }: NamedTeardown): Uint8Array {
  const deviceState = isInferred ? DEVICE_STATE.INFERRED : 0;
  return record('snapshot.unregister', { ...task, deviceState, names: { parent: name } });
}

type RecordField =
  | ('pid' | 'tid' | 'comm' | 'uid' | 'flags' | 'fd' | 'covered' | 'deviceState')
  | ('groupId' | 'inode' | 'vmPid' | 'names');

function record(point: PointName, fields: Partial<Pick<RecordFields, RecordField>>): Uint8Array {
  return encodeRecord({
    ...{ pid: process.pid, tid: process.pid, comm: 'vfioscope' },
    ...fields,
    flags: FLAG.EVENT_SNAPSHOT | (fields.flags ?? 0),
    time: bootTime(),
    seq: 0,
    point: POINTS[point],
  });
}
