/**
 * The devices of VFIO and mdev on this host, as sysfs shows them: what an agent that
 * starts late, or has lost events, must know.
 *
 * A removal that waits for users takes an mdev off its bus at once: what is left is its
 * place in an IOMMU group that VFIO still has.
 */
import { basename, dirname, resolve } from 'node:path';
import { holdersOf } from './kernel-modules.ts';
import { exists, list, pacer, requireSysfs, target, targetName } from './sysfs-files.ts';

export { type HostParent, type HostType, readParents } from './sysfs-parents.ts';

export interface HostDevice {
  /** UUID of an mdev, or such as 0000:00:08.0. */
  readonly name: string;
  /** mdev, pci, platform, ap … */
  readonly bus: string;
  /** Name of an mdev's parent; empty for others. */
  readonly parent: string;
  /** Of an mdev, such as mtty-1; empty for others, and while it is set up or taken down. */
  readonly type: string;
  /** Empty when there is none bound. */
  readonly driver: string;
  /** IOMMU group, or -1. */
  readonly groupId: number;
  /**
   * An mdev that has its `remove` file. Without the file but with a type, either it is lost
   * for good, or the device is just being removed: check again before you judge.
   */
  readonly removable: boolean;
  /** Its driver is being unbound, and waits until nobody has the device open. */
  readonly leaving: boolean;
}

const GROUP = /^(?:noiommu-)?(\d+)$/;

/**
 * Every mdev, and every other device that is bound to a VFIO driver. Each one was there at
 * some time during the call.
 *
 * A device that is not an mdev and whose unbinding waits shows on Linux 6.1 to 6.11 alone.
 * @throws UserProblem when sysfs cannot be read
 */
export async function readDevices(root = ''): Promise<HostDevice[]> {
  requireSysfs(root);
  const found = new Found();
  await readMdevs(root, found);
  const hasClass = await readVfioClass(root, found);
  await readGroups(root, found, hasClass ? () => false : vfioDriverOf(root));
  return [...found.devices.values()];
}

class Found {
  /** By their directories: names are unique on a bus only. */
  readonly devices = new Map<string, HostDevice>();
  readonly groups = new Set<number>();

  add(path: string, device: HostDevice): void {
    this.devices.set(path, device);
    this.groups.add(device.groupId);
  }
}

async function readMdevs(root: string, found: Found): Promise<void> {
  const directory = `${root}/sys/bus/mdev/devices`;
  const pause = pacer();
  for (const name of list(directory) ?? []) {
    const path = follow(directory, name);
    const device = path && readMdev(path);
    if (device && (isWhole(device) || exists(`${directory}/${name}`))) found.add(path, device);
    await pause();
  }
}

/** An mdev on its bus. A removal takes away the file first, then the type, then the rest. */
function readMdev(path: string): HostDevice {
  return {
    removable: exists(`${path}/remove`),
    type: targetName(`${path}/mdev_type`),
    ...boundTo(path),
    name: basename(path),
    bus: 'mdev',
    parent: basename(dirname(path)),
    leaving: false,
  };
}

/** Whether all was there that an mdev in service has. */
function isWhole({ type, driver, groupId }: HostDevice): boolean {
  return type !== '' && driver !== '' && groupId >= 0;
}

/**
 * Linux 6.1 and later list what is registered with VFIO.
 * @returns whether this kernel does
 */
async function readVfioClass(root: string, found: Found): Promise<boolean> {
  const directory = `${root}/sys/class/vfio-dev`;
  const entries = list(directory);
  const pause = pacer();
  for (const entry of entries ?? []) {
    const own = follow(directory, entry); // …/DEVICE/vfio-dev/vfioN
    if (own) addOther(found, `${directory}/${entry}`, dirname(dirname(own)), () => true);
    await pause();
  }
  return entries !== undefined;
}

/** The groups that VFIO has: devices that are leaving, and before 6.1 those that are not mdevs. */
async function readGroups(
  root: string,
  found: Found,
  isVfio: (path: string) => boolean,
): Promise<void> {
  const pause = pacer();
  for (const name of list(`${root}/sys/class/vfio`) ?? []) {
    const id = Number(GROUP.exec(name)?.[1] ?? -1);
    if (id < 0 || found.groups.has(id)) continue;
    const directory = `${root}/sys/kernel/iommu_groups/${id}/devices`;
    for (const device of list(directory) ?? []) {
      const path = follow(directory, device);
      if (path) addOther(found, `${directory}/${device}`, path, isVfio);
    }
    await pause();
  }
}

/** Adds a device that is not on the mdev bus, or was not a moment ago. */
function addOther(
  found: Found,
  link: string,
  path: string,
  isVfio: (path: string) => boolean,
): void {
  if (found.devices.has(path)) return;
  const bus = targetName(`${path}/subsystem`);
  const bound = boundTo(path);
  const leaving = bound.driver === '';
  if (leaving && !exists(link)) return;
  if (bus === 'mdev') {
    found.add(path, readMdev(path));
  } else if (bus === '' && exists(`${dirname(path)}/mdev_supported_types`)) {
    found.add(path, { ...readMdev(path), leaving });
  } else if (bus !== '' && isVfio(path)) {
    const device = { name: basename(path), bus, parent: '', type: '', removable: false };
    found.add(path, { ...device, ...bound, leaving });
  }
}

function boundTo(path: string): Pick<HostDevice, 'driver' | 'groupId'> {
  const driver = targetName(`${path}/driver`);
  const group = targetName(`${path}/iommu_group`);
  return { driver, groupId: group === '' ? -1 : Number(group) };
}

/** Where a link in a directory leads, as a path of its own. */
function follow(directory: string, name: string): string | undefined {
  const path = target(`${directory}/${name}`);
  return path === undefined ? undefined : resolve(directory, path);
}

/** Recognises a VFIO driver by its module, which uses vfio's or is one of vfio's own. */
function vfioDriverOf(root: string): (path: string) => boolean {
  const modules = holdersOf('vfio', root);
  return (path) => {
    const module = targetName(`${path}/driver/module`);
    return module.startsWith('vfio') || modules.has(module);
  };
}
