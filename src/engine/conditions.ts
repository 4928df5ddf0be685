/** Conditions of devices that several rules ask about, usually to leave a case to each other. */
import type { Device } from '../lifecycle/objects.ts';

/** Its removal has begun, and it is not freed yet. */
export function isBeingRemoved({ state }: Device): boolean {
  return state === 'removing';
}

/** It is there to be used, and no open of it was observed; that says little of one that is not `observed`. */
export function isNeverOpened({ state, opensTotal, openCount, opens }: Device): boolean {
  return state === 'bound' && opensTotal === 0 && openCount === 0 && opens.length === 0;
}

/** Its driver's remove callback was called and has not returned; known of mdevs only. */
export function isInRemoveCallback({ unbindBegan, unboundAt }: Device): boolean {
  return unbindBegan > unboundAt;
}

/** Its parent is being unregistered, or has been. */
export function isParentUnregistering({ parent }: Device): boolean {
  return parent?.state === 'unregistering' || parent?.state === 'gone';
}
