/** What records say of a device of a story: its keys, and at begins its names. */
import type { RecordNames } from '../events/encoder.ts';
import type { ToldDevice } from './told.ts';

export function mdevNames(device: ToldDevice): RecordNames {
  const { name = '', driver = '', type = '' } = device.parent ?? {};
  return { device: device.uuid, bus: 'mdev', type, parent: name, driver };
}

export function plainMdev(device: ToldDevice) {
  return { dev: device.key, parent: device.parent?.key ?? 0 };
}

export function namedMdev(device: ToldDevice) {
  return { ...plainMdev(device), names: mdevNames(device) };
}

export function plainVfio({ key, openCount, groupId }: ToldDevice) {
  return { dev: key, vdev: key, openCount, groupId };
}

/** An mdev, whose type VFIO does not know, or a PCI device. */
export function namedVfio(device: ToldDevice) {
  const names: RecordNames = device.parent
    ? { ...mdevNames(device), type: '' }
    : { device: device.uuid, bus: 'pci', driver: 'vfio-pci' };
  return { ...plainVfio(device), names };
}
