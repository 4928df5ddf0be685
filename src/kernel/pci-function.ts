/** What sysfs shows of a PCI function, which does not change while the function is there. */
import type { PciFunction } from '../events/host.ts';
import { targetName, text } from './sysfs-files.ts';

/** Domain, bus, device and function, as in names of sysfs. */
const ADDRESS = /^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2}\.[0-7])$/;

/**
 * As {@link Host.pciFunction}.
 * @param name of a device: nothing is known of one that is not named by a PCI address
 */
export function pciFunction(name: string, root = ''): PciFunction | undefined {
  const directory = `${root}/sys/bus/pci/devices/${name}`;
  if (!ADDRESS.test(name)) return undefined;
  try {
    const vendor = text(`${directory}/vendor`);
    if (vendor === undefined) return undefined;
    const physicalFunction = targetName(`${directory}/physfn`);
    const numaNode = Number(text(`${directory}/numa_node`) ?? -1);
    return {
      vendor,
      device: text(`${directory}/device`) ?? '',
      physicalFunction,
      numaNode: Number.isInteger(numaNode) ? numaNode : -1,
      busId: busIdOf(physicalFunction || name),
    };
  } catch {
    // The device may be used although sysfs must not be read.
    return undefined;
  }
}

/** "0000:3b:00.0" as NVIDIA's tools and exporters write it: "00000000:3B:00.0". */
export function busIdOf(address: string): string {
  const [, domain = '', bus = '', slot = ''] = ADDRESS.exec(address) ?? [];
  return domain === '' ? '' : `${domain.padStart(8, '0')}:${bus}:${slot}`.toUpperCase();
}
