/** Processes and the files that they share: descriptors of devices, groups and cdevs, and mappings. */
import type { FileOwner, GroupMember } from '../../src/events/host.ts';
import { nodeOf, type ScenarioCdev } from '../../src/scenario/cdev.ts';
import type { Actor, Opening, ScenarioDevice, ScenarioVm } from '../../src/scenario/types.ts';

interface Shared {
  /** Whether it is on its way through a socket, where no process has it. */
  inFlight: boolean;
}

/** An open file of a device that its group returned. Descriptors of it may be in several processes. */
export interface DeviceFile extends Shared {
  readonly is: 'device';
  readonly device: ScenarioDevice;
  readonly opening: Opening;
  readonly opener: Process;
  /** The descriptor that the opener got. */
  readonly fd: number;
  /** The file that it was requested from, which it keeps. */
  readonly group: GroupFile;
}

/** An open device cdev. */
export interface CdevFile extends Shared {
  readonly is: 'cdev';
  readonly device: ScenarioDevice;
  readonly cdev: ScenarioCdev;
  readonly opener: Process;
  /** ns on the boot-time clock. */
  readonly openedAt: number;
  /** The VMs that it was given to by kvm-vfio, which keeps it. */
  readonly keptBy: Set<ScenarioVm>;
  /** Who bound it, and when, ns on the boot-time clock. */
  binder: Process | undefined;
  boundAt: number;
}

/** An open file of a group; there is one at a time. */
export interface GroupFile {
  readonly is: 'group';
  readonly group: TrueGroup;
  readonly opener: Process;
  /** ns on the boot-time clock; it is 0 while the file is open. */
  readonly openedAt: number;
  closedAt: number;
  hasContainer: boolean;
  /** How many devices were requested from it. */
  requests: number;
  /** The VMs that it was given to by kvm-vfio, which keeps it. */
  readonly keptBy: Set<ScenarioVm>;
  inFlight: boolean;
}

export interface TrueGroup {
  readonly id: number;
  /** One that it has or had, for steps that take the number of a group from a device. */
  readonly device: ScenarioDevice;
  /** Of the devices that were ever in it. */
  readonly names: readonly string[];
  /** Those that are registered with VFIO. */
  readonly devices: Set<ScenarioDevice>;
  /** Another device of it, which is not VFIO's; undefined for a group of one. */
  sibling: GroupMember | undefined;
  file: GroupFile | undefined;
}

export type TrueFile = DeviceFile | CdevFile | GroupFile;
/** What may be mapped: a device, also by its cdev. */
export type MappedFile = DeviceFile | CdevFile;

/** From its start to its end: another one may have its id afterwards. */
export interface Process {
  readonly pid: number;
  comm: string;
  /** All names that it has had. */
  readonly names: Set<string>;
  /** ns on the boot-time clock. */
  readonly startedAt: number;
  endedAt: number;
  readonly descriptors: Map<number, TrueFile>;
  readonly mapped: Set<MappedFile>;
  /** Above all numbers that it has had. */
  nextFd: number;
}

/** What a kernel shows of the files of a process. */
export interface Shows {
  /** Of which device a file is, as since 6.13. */
  readonly device: boolean;
  /** Of which device a cdev is, although sysfs has lost it. */
  readonly removedCdev: boolean;
}

const FIRST_FD = 20;

/** The kernel's worker that frees what was in a socket. */
export const NOBODY: Process = {
  ...{ pid: 40, comm: 'kworker/0:1', names: new Set<string>(), startedAt: 0, endedAt: 0 },
  ...{ descriptors: new Map(), mapped: new Set<MappedFile>(), nextFd: 0 },
};

export function newProcess(pid: number, comm: string, startedAt: number): Process {
  return {
    ...{ pid, comm, names: new Set([comm]), startedAt, endedAt: 0 },
    ...{ descriptors: new Map(), mapped: new Set(), nextFd: FIRST_FD },
  };
}

export function actorOf({ pid, comm }: Process): Actor {
  return { pid, comm };
}

export function hasDescriptor({ descriptors }: Process, file: TrueFile): boolean {
  return [...descriptors.values()].includes(file);
}

/** Gives a process a descriptor of a file. @returns its number */
export function give(process: Process, file: TrueFile, fd = freeFd(process)): number {
  process.nextFd = Math.max(process.nextFd, fd + 1);
  process.descriptors.set(fd, file);
  return fd;
}

export function freeFd({ descriptors }: Process): number {
  let fd = FIRST_FD;
  while (descriptors.has(fd)) fd++;
  return fd;
}

/** Whether the device is open by that file. */
export function isOpenBy(file: TrueFile, device: ScenarioDevice): boolean {
  if (file.is === 'group' || file.device !== device) return false;
  return file.is === 'device' || file.binder !== undefined;
}

/** What /proc shows of a process. @param kvmFiles whether it has files of a VM */
export function ownerOf(
  { pid, comm, startedAt, descriptors, mapped }: Process,
  shows: Shows,
  kvmFiles: boolean,
  isRemoving: (device: ScenarioDevice) => boolean,
): FileOwner {
  const files = [...descriptors];
  const ofCdev = (device: ScenarioDevice) =>
    shows.removedCdev || !isRemoving(device) ? { device: device.uuid } : {};
  return {
    ...{ pid, comm, uid: 0, startedAt, kvmFiles },
    deviceFiles: files.flatMap(([fd, file]) => {
      if (file.is !== 'device') return [];
      return { fd, ...(shows.device ? { device: file.device.uuid } : {}) };
    }),
    groupFiles: files.flatMap(([fd, file]) =>
      file.is === 'group' ? { fd, group: file.group.id } : [],
    ),
    cdevFiles: files.flatMap(([fd, file]) => {
      if (file.is !== 'cdev') return [];
      return { fd, cdev: nodeOf(file.device), ...ofCdev(file.device) };
    }),
    // No kernel shows of which device a mapped file is, unless it is a cdev.
    mappedDevices: [...mapped].map((file) => (file.is === 'cdev' ? ofCdev(file.device) : {})),
  };
}

export function hasFiles(owner: FileOwner): boolean {
  const { deviceFiles, groupFiles, cdevFiles, mappedDevices, kvmFiles } = owner;
  const files = [deviceFiles, groupFiles, cdevFiles, mappedDevices];
  return kvmFiles || files.some(({ length }) => length > 0);
}
