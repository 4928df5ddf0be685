/** What a process that exits still has to close. */

import type { Host } from '../events/host.ts';
import type { Device } from '../lifecycle/objects.ts';

/**
 * Whether some process that has the device open is just exiting: it closes its files in any order,
 * and each may take long, such as to reset a device or to unpin the memory of a guest.
 */
export function isBeingLeft({ opens }: Device, host: Host): boolean {
  return opens.some(({ task }) => host.isExiting?.(task.pid) === true);
}
