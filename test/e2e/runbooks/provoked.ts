// SPDX-License-Identifier: Apache-2.0
/** The runbooks whose state exists when a violation has been reported, by its rule and severity. */
export const PROVOKED: Readonly<Record<string, readonly string[]>> = {
  'open-without-kvm info': ['VfioscopeManyNotices'],
  'remove-stall warning': ['VfioscopeRemovalStalled'],
  // Another process waits behind it for the lock of the device.
  'bind-stall warning': ['VfioscopeCallStalled'],
  'open-stall warning': ['VfioscopeOperationStuck'],
  'parent-unregister-stall warning': ['VfioscopeParentUnregisterStalled'],
  'mdev-driverless warning': ['VfioscopeDeviceLeaked'],
  'kvm-ref-leak error': ['VfioscopeVmLeaked', 'VfioscopeZombieVms'],
  'instances-exhausted info': ['VfioscopeParentFull', 'VfioscopeTypeUsedUp'],
  'instances-exhausted error': ['VfioscopeCapacityLost'],
  'remove-order-violated critical': ['VfioscopeMemoryAtRisk', 'VfioscopeHostLost'],
  'create-failed warning': ['VfioscopeDeviceRefused'],
  'open-failed warning': ['VfioscopeOpenRefused'],
  'kvm-set-after-open warning': ['VfioscopeVmMismatch'],
  'removed-by-another warning': ['VfioscopeRemovalMishandled'],
  'duplicate-uuid warning': ['VfioscopeUuidConflict'],
  'vfio-double-init error': ['VfioscopeDriverFault', 'VfioscopeFleetViolation'],
};
