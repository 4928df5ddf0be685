/** The fields of records about a device: its keys, and its names at a begin. */
import type { RecordNames } from '../events/encoder.ts';
import type { ScenarioDevice, ScenarioVm } from './types.ts';

export function mdevNames(device: ScenarioDevice): RecordNames {
  const { name = '', driver = '', type = '' } = device.parent ?? {};
  return { device: device.uuid, bus: 'mdev', type, parent: name, driver };
}

export function plainMdev(device: ScenarioDevice) {
  return { dev: device.key, parent: device.parent?.key ?? 0 };
}

export function namedMdev(device: ScenarioDevice) {
  return { ...plainMdev(device), names: mdevNames(device) };
}

export function plainVfio({ key, openCount, groupId }: ScenarioDevice) {
  return { dev: key, vdev: key, openCount, groupId };
}

/** An mdev, whose type VFIO does not know, or a PCI device. */
export function namedVfio(device: ScenarioDevice) {
  const names: RecordNames = device.parent
    ? { ...mdevNames(device), type: '' }
    : { device: device.uuid, bus: 'pci', driver: 'vfio-pci' };
  return { ...plainVfio(device), names };
}

/** A VM that a record shows. */
export function kvmFields(vm: ScenarioVm | undefined) {
  return vm ? { kvm: vm.key, usersCount: vm.users, vmPid: vm.task.pid } : {};
}
