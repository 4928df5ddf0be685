/** The processes and devices of all occurrences of a violation: the first ones are listed. */
import type { Party, Processes } from './violation.ts';

/** How many are listed with one violation. */
const MOST_PROCESSES = 16;
const MOST_DEVICES = 100;

const NONE: Processes = { listed: [], otherOccurrences: 0 };

/** @param party of one more occurrence; undefined if its process is not known */
export function withProcess(party: Party | undefined, processes: Processes = NONE): Processes {
  const { listed, otherOccurrences } = processes;
  const known = listed.findIndex(({ task }) => task.pid === party?.task.pid);
  if (known >= 0) {
    const one = listed[known];
    const again = { ...one, occurrences: one.occurrences + 1 };
    return { listed: listed.with(known, again), otherOccurrences };
  }
  if (!party || listed.length >= MOST_PROCESSES) {
    return { listed, otherOccurrences: otherOccurrences + 1 };
  }
  return { listed: [...listed, { ...party, occurrences: 1 }], otherOccurrences };
}

export function withDevice(
  device: string | undefined,
  devices: readonly string[] = [],
): readonly string[] {
  if (!device || devices.includes(device) || devices.length >= MOST_DEVICES) return devices;
  return [...devices, device];
}
