/** Device cdevs that are bound, in what rules say. */

import type { Cdev, Device, Group } from '../lifecycle/objects.ts';
import type { Kernels } from './rule.ts';

/** The kernels on which rules about cdevs hold. */
export const WITH_CDEVS: Kernels = {
  where: { devicesHaveCdevs: true },
  because: 'a device can be opened by its group alone',
};

/** The cdev of the device that is bound, if it is another one. */
export function boundCdev({ cdevs }: Device, except?: Cdev): Cdev | undefined {
  return cdevs.find((one) => one !== except && one.isBound);
}

/** The device of a group that is bound by its cdev, so that the group cannot be opened. */
export function boundDeviceOf({ devices }: Pick<Group, 'devices'>): Device | undefined {
  return devices.find((device) => boundCdev(device) !== undefined);
}

/** "its cdev vfio3", or without a name that was not observed. */
export function cdevWords({ node }: Pick<Cdev, 'node'>): string {
  return node ? `its cdev ${node}` : 'its cdev';
}
