/** Who holds files of VMs, devices and groups, read from /proc beside the event loop. */
import { readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import type { FileOwner, Host, OwnedFile } from '../events/host.ts';
import { namedMappings } from './device-mappings.ts';
import {
  DEVICE_FILE,
  FILE_FACTS,
  type FileFacts,
  type FileKind,
  isCandidate,
  kindOf,
  VfioNodes,
} from './file-kind.ts';
import { bootTime } from './os.ts';
import {
  field,
  hasHostPids,
  hidesProcesses,
  identityOf,
  namesIn,
  pidsIn,
  said,
  startedAt,
  unlessGone,
} from './proc.ts';
import { pacer } from './sysfs-files.ts';

interface Reader {
  readonly proc: string;
  readonly nodes: VfioNodes;
  readonly facts: FileFacts;
  readonly pace: () => Promise<void> | undefined;
}

type Found = readonly [fd: number, kind: FileKind];

/**
 * What reads the owners of files again and again. The nodes are read at once, because sysfs no longer
 * shows those of a device that is being removed.
 */
export function ownerReader(): () => Promise<readonly FileOwner[] | undefined> {
  const nodes = new VfioNodes();
  try {
    nodes.read();
  } catch {
    // They are read again with the files.
  }
  return () => fileOwners('', nodes);
}

/**
 * The processes that hold a file of a VM, a device or a group.
 * @returns undefined when the files of some process cannot be read, because no answer is
 *   better than one that takes a hidden holder for none
 */
export async function fileOwners(
  root = '',
  nodes = new VfioNodes(root),
  facts: FileFacts = FILE_FACTS,
): Promise<readonly FileOwner[] | undefined> {
  const proc = `${root}/proc`;
  try {
    if (!hasHostPids(proc)) return undefined;
    if (hidesProcesses(proc)) return undefined;
    nodes.read();
    const reader = { proc, nodes, facts, pace: pacer() };
    const owners: FileOwner[] = [];
    for (const pid of pidsIn(proc)) {
      const owner = await ownerOf(pid, reader);
      if (owner) owners.push(owner);
      await reader.pace();
    }
    return owners.sort((one, other) => one.pid - other.pid);
  } catch {
    return undefined;
  }
}

const withKvmFiles = new WeakMap<readonly FileOwner[], ReadonlySet<number>>();

/** Those of them that hold a file of a VM; one set for each answer, however many VMs ask. */
export function pidsWithKvmFiles(
  owners: readonly FileOwner[] | undefined,
): ReadonlySet<number> | undefined {
  if (!owners) return undefined;
  let pids = withKvmFiles.get(owners);
  if (!pids) {
    pids = new Set(owners.filter(({ kvmFiles }) => kvmFiles).map(({ pid }) => pid));
    withKvmFiles.set(owners, pids);
  }
  return pids;
}

/** As {@link Host.hasDeviceFile}. */
export function hasDeviceFile(
  pid: number,
  fd: number,
  device: string,
  proc = '/proc',
): boolean | undefined {
  try {
    if (!hasHostPids(proc)) return undefined;
    const directory = `${proc}/${pid}`;
    if (unlessGone(() => readlinkSync(`${directory}/fd/${fd}`), '') !== DEVICE_FILE) return false;
    return (deviceFile(directory, fd).device ?? device) === device;
  } catch {
    return undefined;
  }
}

/** Undefined when it has none, or is gone. @throws when its files cannot be read */
async function ownerOf(pid: number, reader: Reader): Promise<FileOwner | undefined> {
  const directory = `${reader.proc}/${pid}`;
  const begun = bootTime();
  const found = await openFiles(directory, reader);
  const mapped = await mappedFiles(directory, reader);
  if (found.length === 0 && mapped.length === 0) return undefined;
  const started = startedAt(directory);
  // The process that was read has ended, and another one has its id.
  if (started !== undefined && started > begun) return undefined;
  return {
    pid,
    ...identityOf(said(`${directory}/status`)),
    startedAt: started ?? 0,
    kvmFiles: [...found.map(([, kind]) => kind), ...mapped].some(({ is }) => is === 'kvm'),
    deviceFiles: found.flatMap(([fd, { is }]) =>
      is === 'device' ? deviceFile(directory, fd) : [],
    ),
    groupFiles: found.flatMap(([fd, kind]) =>
      kind.is === 'group' ? { fd, group: kind.group } : [],
    ),
    cdevFiles: found.flatMap(([fd, kind]) => {
      if (kind.is !== 'cdev') return [];
      const { cdev, device } = kind;
      return { fd, cdev, ...(device === undefined ? {} : { device }) };
    }),
    mappedDevices: mapped.flatMap((kind) => {
      if (kind.is !== 'device' && kind.is !== 'cdev') return [];
      return 'device' in kind ? { device: kind.device } : {};
    }),
  };
}

/** Newer kernels show which device a file is of; 6.12 does not yet. */
function deviceFile(directory: string, fd: number): OwnedFile {
  const path = field(said(`${directory}/fdinfo/${fd}`), 'vfio-device-syspath');
  return { fd, ...(path === undefined ? {} : { device: basename(path) }) };
}

/** None when it is gone. @throws when they cannot be read */
async function openFiles(directory: string, reader: Reader): Promise<Found[]> {
  const files = `${directory}/fd`;
  const found: Found[] = [];
  for (const fd of namesIn(files)) {
    const path = `${files}/${fd}`;
    const link = unlessGone(() => readlinkSync(path), '');
    if (isCandidate(link)) {
      const kind = await kindOf(link, path, reader.nodes, reader.facts);
      if (kind) found.push([Number(fd), kind]);
    }
    await reader.pace();
  }
  return found.sort(([one], [other]) => one - other);
}

async function mappedFiles(directory: string, { nodes, facts }: Reader): Promise<FileKind[]> {
  const kinds: FileKind[] = [];
  for (const { range, link } of await namedMappings(`${directory}/maps`)) {
    const kind = await kindOf(link, `${directory}/map_files/${range}`, nodes, facts);
    if (kind) kinds.push(kind);
  }
  return kinds;
}
