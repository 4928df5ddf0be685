/** Who holds files of VMs and devices, read from /proc. */
import { readdirSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { plain } from '../events/text.ts';
import type { FileOwner, OwnedFile } from '../rules/rule.ts';
import { field, hasHostPids, said, unlessGone } from './proc.ts';

/** A KVM file, or an open file of a VM's debugfs directory. */
const KVM_FILE = /^anon_inode:kvm-|\/debug\/kvm\/\d+-\d+\//;
/** drivers/vfio/vfio_main.c and group.c: a device's file, on all kernels. */
const DEVICE_FILE = 'anon_inode:[vfio-device]';

/**
 * The processes that hold a file of a VM or of a device.
 * @returns undefined when some process cannot be looked into, because no answer is
 *   better than one that takes a hidden holder for none
 */
export function fileOwners(proc = '/proc'): readonly FileOwner[] | undefined {
  try {
    if (!hasHostPids(proc)) return undefined;
    return readdirSync(proc)
      .map(Number)
      .filter(Number.isInteger)
      .map((pid) => ownerOf(`${proc}/${pid}`, pid))
      .filter((owner) => owner !== undefined);
  } catch {
    return undefined;
  }
}

/** Those of them that hold a file of a VM. */
export function pidsWithKvmFiles(
  owners: readonly FileOwner[] | undefined,
): ReadonlySet<number> | undefined {
  return owners && new Set(owners.filter(({ kvmFiles }) => kvmFiles).map(({ pid }) => pid));
}

/** Whether a process has a device file at a descriptor; undefined when that cannot be seen. */
export function hasDeviceFile(pid: number, fd: number, proc = '/proc'): boolean | undefined {
  try {
    if (!hasHostPids(proc)) return undefined;
    return unlessGone(() => readlinkSync(`${proc}/${pid}/fd/${fd}`), '') === DEVICE_FILE;
  } catch {
    return undefined;
  }
}

/** Undefined when it has none, or is gone. @throws when it cannot be looked into */
function ownerOf(directory: string, pid: number): FileOwner | undefined {
  const files = openFiles(`${directory}/fd`);
  const kvmFiles = files.some(([, file]) => KVM_FILE.test(file));
  const devices = files.filter(([, file]) => file === DEVICE_FILE);
  if (!kvmFiles && devices.length === 0) return undefined;
  const status = said(`${directory}/status`);
  return {
    pid,
    comm: plain(field(status, 'Name') ?? ''),
    uid: Number.parseInt(field(status, 'Uid') ?? '-1', 10),
    kvmFiles,
    deviceFiles: devices.map(([fd]) => deviceFile(directory, Number(fd))),
  };
}

/** Newer kernels tell which device a file is of; 6.12 does not yet. */
function deviceFile(directory: string, fd: number): OwnedFile {
  const path = field(said(`${directory}/fdinfo/${fd}`), 'vfio-device-syspath');
  return { fd, ...(path === undefined ? {} : { device: basename(path) }) };
}

/** Descriptors of a process and where they lead; none when it is gone. @throws when that is not to be seen */
function openFiles(directory: string): (readonly [string, string])[] {
  return unlessGone(() => readdirSync(directory), []).map(
    (fd) => [fd, unlessGone(() => readlinkSync(`${directory}/${fd}`), '')] as const,
  );
}
