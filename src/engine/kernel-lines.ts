/** Which lines of the kernel's log belong to a violation. */
import type { Host, KernelLogLine } from '../events/host.ts';
import { SECOND } from '../units.ts';
import type { Finding } from './rule.ts';

/** How many lines are kept with one violation; the latest count. */
const MOST = 8;
/** How long before a violation a line about its device may have been logged, ns. */
const ABOUT_DEVICE = 30 * SECOND;
/** The same for a line that names no device. */
const ABOUT_NONE = 2 * SECOND;

/**
 * Lines that name the device or the parent, and from the time of the violation those that name none.
 * @param firstSeen when the violation was found, ns on the boot-time clock
 * @returns undefined where the log cannot be read, as in a replay
 */
export function kernelLines(
  { device, parent }: Finding,
  host: Host,
  firstSeen: number,
): readonly string[] | undefined {
  const lines = host.kernelLog?.();
  if (!lines) return undefined;
  const parentName = parent?.name ?? device?.parentName;
  const names = [device?.name, parentName].filter((name) => name !== undefined && name !== '');
  return lines
    .filter((line) => belongs(line, names as string[], firstSeen))
    .sort((one, other) => Number(one.time) - Number(other.time))
    .slice(-MOST)
    .map(({ time, text }) => `[${time.padStart(12)}] ${text}`);
}

function belongs(
  { text, names: named, after, before }: KernelLogLine,
  names: readonly string[],
  firstSeen: number,
): boolean {
  if (names.some((name) => named.includes(name))) return before >= firstSeen - ABOUT_DEVICE;
  // It is about another device.
  if (named.length > 0) return false;
  if (names.some((name) => hasName(text, name))) return before >= firstSeen - ABOUT_DEVICE;
  return before >= firstSeen - ABOUT_NONE && after <= firstSeen + ABOUT_NONE;
}

/** Whether the name stands in the text, and not as a part of another name. */
function hasName(text: string, name: string): boolean {
  const at = text.indexOf(name);
  if (at < 0) return false;
  const isPart = (character: string | undefined) => /[\w-]/.test(character ?? '');
  return !isPart(text[at - 1]) && !isPart(text[at + name.length]);
}
