/** Why a create was refused: which rule reports it, and what sysfs says about the type that was requested. */
import type { Device } from '../lifecycle/objects.ts';
import { isParentUnregistering } from './conditions.ts';
import { EEXIST, ENODEV, ENOSPC, EPERM, EUSERS } from './errno.ts';
import type { RuleContext } from './rule.ts';

/** Before 6.1 these drivers refused with EPERM when they had no instance left. */
const EPERM_IS_CAPACITY = new Set(['vfio_ap', 'vfio_ccw']);

/**
 * exists: duplicate-uuid or uuid-held-by-dying-device. unregistering: create-races-parent-unregister.
 * no instance: instances-exhausted, unless sysfs offers one. other: create-failed.
 */
export type CreateRefusal = 'exists' | 'unregistering' | 'no instance' | 'other';

/** Of a device whose create has failed. */
export function createRefusalOf(device: Device): CreateRefusal {
  const { createError, driver } = device;
  // Once its driver's probe was called, the errno is that of its driver.
  const isOfCore = device.probeBegan === 0;
  if (createError === EEXIST && isOfCore) return 'exists';
  if (createError === ENODEV && isOfCore && isParentUnregistering(device)) return 'unregistering';
  const isCapacity =
    createError === EUSERS ||
    createError === ENOSPC ||
    (createError === EPERM && EPERM_IS_CAPACITY.has(driver));
  return isCapacity ? 'no instance' : 'other';
}

/**
 * How many more devices of its type sysfs offers since the create of a device failed. The answer comes
 * from the driver and takes a while.
 * @returns undefined when that is not known; false while the driver may still answer
 */
export function offerAfter(
  device: Device,
  { host, now, thresholds }: Pick<RuleContext, 'host' | 'now' | 'thresholds'>,
): number | undefined | false {
  const { parent, type, createFailedAt } = device;
  if (!host.availableInstances || !parent || isParentUnregistering(device)) return undefined;
  const answer = host.availableInstances(parent.name, createFailedAt);
  if (answer) return answer.get(type);
  return now - createFailedAt < thresholds.grace ? false : undefined;
}

/** Whether the driver refused for want of an instance although sysfs offers some; the core counts by itself. */
export function isRefusedDespiteOffer({ createError }: Device, offer: number | undefined): boolean {
  return createError !== EUSERS && offer !== undefined && offer > 0;
}

/** Where mdevs have no driver of their own, that of the parent is called where no event shows it. */
export function showsDriverCall({ host }: Pick<RuleContext, 'host'>): boolean {
  return host.traits.mdevsHaveDriver === true;
}
