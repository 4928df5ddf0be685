// SPDX-License-Identifier: Apache-2.0
/** The two ways to a device, as commands of test/lab/vmm: by its group, or by its cdev. */

export interface Path {
  /** Opens a device for a new VM, as a VMM does. */
  start(name: string, device: string): string;
  /** Closes all of that. */
  stop(name: string): string;
  /** Closes what remains open of `start a` after its device was closed. */
  readonly closeRest: readonly string[];
  /** Opens a device without a VM, and closes it. */
  useWithoutVm(device: string): readonly string[];
}

export const BY_GROUP: Path = {
  start: (name, device) => `start ${name} ${device}`,
  stop: (name) => `stop ${name}`,
  closeRest: [
    ...['kvmvfio del a.kvmvfio a.group', 'close a.kvmvfio', 'group detach a.group'],
    ...['close a.group', 'close a.container', 'close a.vcpu', 'close a.vm'],
  ],
  useWithoutVm: (device) => [
    ...['container open c', `group open g ${device}`, 'group attach g c', 'container iommu c'],
    ...[`device open d g ${device}`, 'close d', 'group detach g', 'close g', 'close c'],
  ],
};

export const BY_CDEV: Path = {
  start: (name, device) => `start-by-cdev ${name} ${device}`,
  stop: (name) => `stop-by-cdev ${name}`,
  // The kvm-vfio device has a reference on the file of the cdev, which its close puts.
  closeRest: ['close a.kvmvfio', 'close a.iommufd', 'close a.vcpu', 'close a.vm'],
  useWithoutVm: (device) => [
    ...['iommufd open i', 'iommufd ioas i', `cdev open d ${device}`, 'cdev bind d i'],
    ...['cdev attach d 1', 'close d', 'close i'],
  ],
};
