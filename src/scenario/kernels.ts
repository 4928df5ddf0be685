/**
 * The traits of Linux kernels that scenarios are played on: Debian's, as the lab derived them. A test compares
 * them with what was derived (test/generate/traits.test.ts).
 */
import type { Traits } from '../events/traits.ts';

export const LINUX_6_12: Traits = {
  mdevsHaveDriver: true,
  parentBelongsToDriver: true,
  mdevsStayUnbound: true,
  removeFileIsEarly: true,
  coreHoldsVm: true,
  driversAreNotified: false,
  vfioDeviceIsCounted: true,
  opensAreOneFunction: true,
  containerIsCheckedAtOpen: false,
  opensDuringRemoval: false,
  deviceFileKeepsGroup: true,
  removalWaitsForGroup: false,
  devicesHaveCdevs: false,
  vfioUsesIommufd: false,
  opensAreCounted: true,
  callbacksAreDescribed: true,
  kvmRefusesReferences: true,
  linksCanBePinned: true,
  linksCountMisses: true,
  namesAreIndexed: true,
};

/** Built with iommufd and device cdevs. */
export const WITH_IOMMUFD: Traits = {
  ...LINUX_6_12,
  devicesHaveCdevs: true,
  vfioUsesIommufd: true,
};

export const LINUX_6_1: Traits = {
  ...LINUX_6_12,
  coreHoldsVm: false,
  opensAreOneFunction: false,
  containerIsCheckedAtOpen: true,
  opensDuringRemoval: true,
  linksCountMisses: false,
};

export const LINUX_5_10: Traits = {
  ...LINUX_6_1,
  mdevsHaveDriver: false,
  parentBelongsToDriver: false,
  mdevsStayUnbound: false,
  removeFileIsEarly: false,
  driversAreNotified: true,
  vfioDeviceIsCounted: false,
  containerIsCheckedAtOpen: false,
  deviceFileKeepsGroup: false,
  removalWaitsForGroup: true,
  opensAreCounted: false,
  callbacksAreDescribed: false,
  kvmRefusesReferences: false,
  linksCanBePinned: false,
  namesAreIndexed: false,
};

/** The kernels of the lab, by their names in test/lab/kernels.json. */
export const LAB_KERNELS: Readonly<Record<string, Traits>> = {
  '5.10': LINUX_5_10,
  '6.1': LINUX_6_1,
  '6.12': LINUX_6_12,
  '6.12-iommufd': WITH_IOMMUFD,
  '7.2': LINUX_6_12,
  '7.3': LINUX_6_12,
  '7.2-iommufd': WITH_IOMMUFD,
};
