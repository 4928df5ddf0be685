/** The parents of mdevs on this host, as sysfs shows them. */
import { answer, list, requireSysfs, targetName, text } from './sysfs-files.ts';

export interface HostParent {
  /** That of its device, such as mtty or 0000:00:02.0. */
  readonly name: string;
  /** Empty when it has none, as mtty. */
  readonly driver: string;
  readonly types: readonly HostType[];
}

export interface HostType {
  /** Its directory, such as mtty-1. */
  readonly id: string;
  /** For people; empty when the driver gives none. */
  readonly name: string;
  /** Such as vfio-pci. */
  readonly deviceApi: string;
  /** undefined if the driver does not show it. */
  readonly availableInstances: number | undefined;
}

/**
 * The parents that are registered. One that is being unregistered is not among them, though
 * its mdevs may still be there.
 * @throws UserProblem when sysfs cannot be read
 */
export async function readParents(root = ''): Promise<HostParent[]> {
  requireSysfs(root);
  const directory = `${root}/sys/class/mdev_bus`;
  const parents: HostParent[] = [];
  for (const entry of list(directory) ?? []) {
    const parent = await readParent(`${directory}/${entry}`);
    if (parent) parents.push(parent);
  }
  return parents;
}

async function readParent(link: string): Promise<HostParent | undefined> {
  const name = targetName(link);
  const driver = targetName(`${link}/driver`);
  const directory = `${link}/mdev_supported_types`;
  const ids = list(directory);
  // The types come before the link and go after it: without them there is no parent.
  if (name === '' || !ids) return undefined;
  const types = await Promise.all(ids.map((id) => readType(directory, id)));
  return { name, driver, types: types.filter((type) => type !== undefined) };
}

/** @returns undefined when it is gone */
async function readType(directory: string, id: string): Promise<HostType | undefined> {
  const instances = Number.parseInt(
    (await answer(`${directory}/${id}/available_instances`)) ?? '',
    10,
  );
  const name = text(`${directory}/${id}/name`) ?? '';
  const deviceApi = text(`${directory}/${id}/device_api`);
  if (deviceApi === undefined) return undefined;
  return {
    id,
    name,
    deviceApi,
    availableInstances: Number.isNaN(instances) ? undefined : instances,
  };
}
