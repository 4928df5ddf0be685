/** Asks the host which PCI function each device or parent is, once when it appears. */
import type { Host, PciFunction } from '../events/host.ts';
import type { Device, Parent } from '../lifecycle/objects.ts';
import type { Transition } from '../lifecycle/transition.ts';
import { OneByOne } from './one-by-one.ts';
import type { Sink } from './sink.ts';

/** Devices and parents that wait to be asked about; nothing is known of others. */
const MOST_WAITING = 1000;

export class PciFunctions implements Sink {
  readonly #find: ((device: string) => PciFunction | undefined) | undefined;
  readonly #queue = new OneByOne(MOST_WAITING);

  constructor(host: Pick<Host, 'pciFunction'>) {
    this.#find = host.pciFunction?.bind(host);
  }

  event({ device, parent }: Transition): void {
    if (device === undefined) {
      if (parent !== undefined && parent.ownFunction === undefined) this.#ask(parent);
    } else if (!device.isMdev) {
      if (device.ownFunction === undefined && device.bus !== '') this.#ask(device);
    } else if (device.parent !== undefined && device.parent.ownFunction === undefined) {
      this.#ask(device.parent);
    }
  }

  #ask(subject: Device | Parent): void {
    const find = this.#find;
    if (!find || subject.name === '') return;
    subject.ownFunction = 'none';
    this.#queue.add(() => {
      subject.ownFunction = find(subject.name) ?? 'none';
    });
  }
}
