/** The other devices of the parent of an mdev, in words: drivers refuse a device because of the others. */
import type { Device } from '../lifecycle/objects.ts';
import { deviceWords, openers, vmWords } from './words.ts';

/** How many devices are described one by one. */
const MOST = 4;

/** " mtty has 2 other devices: … (mtty-1), open for the VM of qemu (pid 7); …" ; empty without a parent. */
export function siblingsWords({ parent, parentName }: Device, except: Device): string {
  if (!parent) return '';
  const others = [...parent.devices].filter((other) => other !== except && !other.isOver);
  if (others.length === 0) return ` ${parentName} has no other device.`;
  const count = others.length === 1 ? 'one other device' : `${others.length} other devices`;
  // What is in use comes first, because it is what a driver refuses for.
  const described = [...others].sort((a, b) => b.openCount - a.openCount).slice(0, MOST);
  const words = described.map((other) => `${deviceWords(other)}, ${useWords(other)}`);
  const rest = others.length - described.length;
  return ` ${parentName} has ${count}: ${words.join('; ')}${rest > 0 ? `; and ${rest} more` : ''}.`;
}

function useWords(device: Device): string {
  if (device.state === 'creating') return 'being created';
  if (device.isUnfreed) return 'removed but not freed';
  if (device.state === 'removing') return 'being removed';
  if (device.openCount <= 0 && device.opens.length === 0) return 'not open';
  return device.vm ? `open for ${vmWords(device.vm)}` : `opened by ${openers(device)}`;
}
