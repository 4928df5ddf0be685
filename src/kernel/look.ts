/**
 * Looks at what exists on this host now, and tells it as records of the wire format:
 * parents and devices from sysfs, open files from the kernel's own lists of files,
 * VMs also from debugfs.
 */
import { EventCursor } from '../events/cursor.ts';
import { encodeRecord, type RecordFields } from '../events/encoder.ts';
import { DEVICE, SEEN } from '../events/look-bits.ts';
import { FLAG, WIRE } from '../events/wire.gen.ts';
import { POINTS, type PointName } from '../lifecycle/points.ts';
import { readDebugVms } from './debugfs.ts';
import { bootTime } from './os.ts';
import type { SeenFiles } from './seen-files.ts';
import { type HostDevice, type HostParent, readDevices, readParents } from './sysfs.ts';
import { inode } from './sysfs-files.ts';

export interface Found {
  /**
   * Each record on its own, or several in one array: parents before their devices,
   * devices before their files, and last the end of the look.
   */
  readonly records: readonly Uint8Array[];
  /** What could not be looked at, and why. */
  readonly problems: readonly string[];
}

/** The record with which a look begins. @param pid who looks */
export function lookBegins(pid = process.pid): Uint8Array {
  return record('seen.snapshot', { pid });
}

/** @param files an error where files cannot be looked through */
export async function look(files: SeenFiles | Error): Promise<Found> {
  const problems: string[] = [];
  let seen = 0;
  const attempt = async (part: number, read: () => Promise<Uint8Array[]>) => {
    try {
      const records = await read();
      seen |= part;
      return records;
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error));
      return [];
    }
  };
  // Files first: what they belong to can then not have come after them.
  const open = await attempt(SEEN.files, async () => {
    if (files instanceof Error) {
      throw new Error(`open files cannot be looked through: ${files.message}`);
    }
    return [await files.records()];
  });
  const there = await attempt(SEEN.sysfs, async () => {
    const devices = await readDevices();
    return [...(await readParents()).map(parentRecord), ...devices.map(deviceRecord)];
  });
  const listed = await attempt(SEEN.debugfs, async () => {
    const vms = readDebugVms();
    if (!vms) throw new Error("debugfs cannot be read, so VMs that nobody holds don't show");
    return vms.map(({ tid, fd }) => record('seen.vm_entry', { vmPid: tid, ret: fd }));
  });
  const end = record('seen.snapshot', { flags: FLAG.EVENT_END, ret: seen });
  return { records: [...there, ...open, ...listed, end], problems };
}

/** Hands over every record of an array from {@link look}. */
export function eachRecord(records: Uint8Array, receive: (event: EventCursor) => void): void {
  const cursor = new EventCursor(records.buffer as ArrayBuffer, records.byteOffset);
  const size = records.length % WIRE.namedSize === 0 ? WIRE.namedSize : WIRE.eventSize;
  for (let at = 0; at < records.length; at += size) {
    cursor.moveTo(at);
    receive(cursor);
  }
}

function parentRecord({ name, driver }: HostParent): Uint8Array {
  return record('seen.parent', { names: { parent: name, driver } });
}

function deviceRecord(device: HostDevice): Uint8Array {
  const { name, bus, type, parent, driver, groupId, removable, leaving } = device;
  const ret = (removable ? DEVICE.removable : 0) | (leaving ? DEVICE.leaving : 0);
  return record('seen.device', {
    ret,
    groupId,
    inode: bus === 'mdev' ? inode(`/sys/bus/mdev/devices/${name}`) : 0,
    names: { device: name, bus, type, parent, driver },
  });
}

type RecordField = 'pid' | 'flags' | 'ret' | 'groupId' | 'inode' | 'vmPid' | 'names';

function record(point: PointName, fields: Partial<Pick<RecordFields, RecordField>>): Uint8Array {
  return encodeRecord({
    pid: process.pid,
    ...fields,
    flags: FLAG.EVENT_SEEN | (fields.flags ?? 0),
    time: bootTime(),
    seq: 0,
    point: POINTS[point],
    tid: process.pid,
    comm: 'vfioscope',
  });
}
