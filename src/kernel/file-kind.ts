/**
 * What an open file or a mapping is: of KVM, of a device, of a group. Any user can choose the name
 * of a file, so a name only nominates it, and its superblock or device number decides.
 */
import { stat, statfs } from 'node:fs/promises';
import { PatientAsker } from './patience.ts';
import { list, targetName, text } from './sysfs-files.ts';

export type FileKind =
  | { readonly is: 'kvm' }
  | { readonly is: 'device' }
  | { readonly is: 'group'; readonly group: number }
  | { readonly is: 'cdev'; readonly cdev: string; readonly device?: string };

const KVM: FileKind = { is: 'kvm' };
const DEVICE: FileKind = { is: 'device' };

/** A path begins with "/", so no user can make a file whose link begins like this. */
const KVM_FILE = 'anon_inode:kvm-';
/** drivers/vfio/vfio_main.c and group.c: a device's file, on all kernels. */
export const DEVICE_FILE = 'anon_inode:[vfio-device]';
/** Under any mount point: kvm/PID-FD/statistic, in debugfs. */
const STATISTIC = /\/\d+-\d+\/[^/]+$/;
/** Under any mount point: vfio/N, vfio/noiommu-N, vfio/devices/vfioN. */
const NODE = /^\/.*(?:vfio\d*|noiommu-)\/?[^/]*$/;

/** include/uapi/linux/magic.h */
const DEBUGFS = 0x64626720;
/** Asks a filesystem what a file is. */
export interface FileFacts {
  /** The number of a character device; undefined for every other file. */
  deviceNumber(path: string): Promise<number | undefined>;
  isDebugfs(path: string): Promise<boolean>;
}

/** A user may have a file on a filesystem that never answers, under a name that nominates it. */
const filesystems = new PatientAsker(1);

export const FILE_FACTS: FileFacts = {
  async deviceNumber(path) {
    const facts = await filesystems.ask(path, (file) => stat(file));
    return facts?.isCharacterDevice() ? facts.rdev : undefined;
  },
  async isDebugfs(path) {
    return (await filesystems.ask(path, (file) => statfs(file)))?.type === DEBUGFS;
  },
};

/** The VFIO nodes of this host, by device number. */
export class VfioNodes {
  readonly #root: string;
  readonly #kinds = new Map<number, FileKind>();
  #cdevMajor = -1;

  constructor(root = '') {
    this.#root = root;
  }

  /**
   * Reads which nodes there are. A cdev that is gone stays known until another one has its number:
   * sysfs loses it when its removal begins, and it keeps its number as long as a file of it is open.
   */
  read(): void {
    const groups = `${this.#root}/sys/class/vfio`;
    for (const name of list(groups) ?? []) {
      const group = Number.parseInt(name.replace(/^noiommu-/, ''), 10);
      this.#add(`${groups}/${name}`, { is: 'group', group });
    }
    const cdevs = `${this.#root}/sys/class/vfio-dev`;
    for (const cdev of list(cdevs) ?? []) {
      const device = targetName(`${cdevs}/${cdev}/device`);
      this.#add(`${cdevs}/${cdev}`, { is: 'cdev', cdev, ...(device ? { device } : {}) });
    }
    const devices = text(`${this.#root}/proc/devices`) ?? '';
    this.#cdevMajor = Number(/^ *(\d+) vfio-dev$/m.exec(devices)?.[1] ?? -1);
  }

  /** @param number as stat() reports it */
  of(number: number): FileKind | undefined {
    const known = this.#kinds.get(number);
    if (known) return known;
    // gnu_dev_major() and gnu_dev_minor(); the minor is the number in the name.
    if (((number >>> 8) & 0xfff) !== this.#cdevMajor) return undefined;
    return { is: 'cdev', cdev: `vfio${(number & 0xff) + Math.floor(number / 0x100000) * 0x100}` };
  }

  #add(directory: string, kind: FileKind): void {
    const [major, minor] = (text(`${directory}/dev`) ?? '').split(':').map(Number);
    if (!Number.isInteger(minor)) return;
    // gnu_dev_makedev()
    const number = (minor & ~0xff) * 0x1000 + (major & 0xfff) * 0x100 + (minor & 0xff);
    this.#kinds.set(number, kind);
  }
}

/** Whether a file may be of a kind, and is worth a question to its filesystem. */
export function isCandidate(link: string): boolean {
  return link.startsWith('anon_inode:')
    ? link.startsWith(KVM_FILE) || link === DEVICE_FILE
    : link.startsWith('/') && (NODE.test(link) || STATISTIC.test(link));
}

/**
 * The kind of a file.
 * @param link as the kernel prints its path
 * @param path that leads to the file itself, such as /proc/PID/fd/N
 */
export async function kindOf(
  link: string,
  path: string,
  nodes: VfioNodes,
  facts: FileFacts,
): Promise<FileKind | undefined> {
  if (link.startsWith(KVM_FILE)) return KVM;
  if (link === DEVICE_FILE) return DEVICE;
  if (STATISTIC.test(link) && (await facts.isDebugfs(path))) return KVM;
  if (!NODE.test(link)) return undefined;
  const number = await facts.deviceNumber(path);
  return number === undefined ? undefined : nodes.of(number);
}
