// SPDX-License-Identifier: Apache-2.0
/** A real QEMU inside the VM: its own VM runs on KVM, and gets devices by hot-plug. */
import type { GuestExit, GuestProcess, Vm } from '../../lab/lab.ts';

/**
 * A slot from which a device is unplugged without the consent of a guest: with native hot-plug and the
 * slot's power off, QEMU unplugs at once.
 */
const SLOT = 'slot0';
const MACHINE = [
  ...['-nodefaults', '-no-user-config', '-display', 'none'],
  ...['-machine', 'q35', '-accel', 'kvm', '-cpu', 'host', '-m', '32', '-S'],
  ...['-global', 'ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off'],
  ...['-device', `pcie-root-port,id=${SLOT},slot=1`, '-qmp', 'stdio'],
];

/** The object of QEMU that is its iommufd context. */
const IOMMUFD = 'iommufd0';

/** Which QEMU is run, and which way it takes to devices. */
export interface QemuProgram {
  readonly words: readonly string[];
  /** By their cdevs, bound to an iommufd context. QEMU 9 and later. */
  readonly byCdev: boolean;
}

/** Files that a launcher opens and QEMU inherits, by the number of the descriptor. */
const INHERITED = { iommufd: 8, cdev: 9 };

/** How devices are named to QEMU. */
export const mdev = (uuid: string) => ({ sysfsdev: `/sys/bus/mdev/devices/${uuid}` });
export const card = (address: string) => ({ host: address });
const inherited = { fd: INHERITED.cdev };
export type Passed = ReturnType<typeof mdev> | ReturnType<typeof card> | typeof inherited;

interface Message {
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
  readonly event?: string;
}

export class Qemu {
  readonly #process: GuestProcess;
  readonly #answers: ((message: Message) => void)[] = [];
  readonly #events = new Map<string, PromiseWithResolvers<void>>();
  readonly #byCdev: boolean;
  #said = '';

  private constructor(vm: Vm, words: readonly string[], byCdev: boolean) {
    this.#byCdev = byCdev;
    let rest = '';
    // programs: chroot, qemu-system-x86_64
    this.#process = vm.start(words, {
      onStdout: (chunk) => {
        const lines = (rest + chunk.toString()).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) this.#hear(JSON.parse(line) as Message);
      },
      onStderr: (chunk) => {
        this.#said += chunk.toString();
      },
    });
  }

  /** Starts it with devices plugged in, its guest stopped. */
  static async start(
    vm: Vm,
    { words, byCdev }: QemuProgram,
    ...devices: readonly Passed[]
  ): Promise<Qemu> {
    const context = byCdev ? ['-object', `iommufd,id=${IOMMUFD}`] : [];
    const more = devices.flatMap((device) => ['-device', optionsOf(device, byCdev)]);
    return Qemu.#ready(new Qemu(vm, [...words, ...MACHINE, ...context, ...more], byCdev));
  }

  /** As {@link start}, with files that its launcher opened: /dev/iommu and the cdev of a device. */
  static async startWithFiles(vm: Vm, { words }: QemuProgram, cdev: string): Promise<Qemu> {
    const { iommufd, cdev: fd } = INHERITED;
    const context = ['-object', `iommufd,id=${IOMMUFD},fd=${iommufd}`];
    const command = [...words, ...MACHINE, ...context, '-device', optionsOf(inherited, true)];
    const launch = `exec ${iommufd}<> /dev/iommu ${fd}<> ${cdev}; exec "$@"`;
    // programs: sh
    return Qemu.#ready(new Qemu(vm, ['sh', '-c', launch, 'launcher', ...command], true));
  }

  static async #ready(qemu: Qemu): Promise<Qemu> {
    await qemu.#order('qmp_capabilities');
    return qemu;
  }

  /** Lets the guest run: firmware that finds nothing to boot. */
  async run(): Promise<void> {
    await this.#order('cont');
  }

  async plug(device: Passed): Promise<void> {
    const context = this.#byCdev ? { iommufd: IOMMUFD } : {};
    const place = { driver: 'vfio-pci', id: 'passed', bus: SLOT };
    await this.#order('device_add', { ...place, ...context, ...device });
  }

  async unplug(): Promise<void> {
    const gone = this.unplugged();
    await this.#order('device_del', { id: 'passed' });
    await gone;
  }

  /** Settles when a device was unplugged, whoever requested it. */
  unplugged(): Promise<void> {
    return this.#until('DEVICE_DELETED');
  }

  async quit(): Promise<void> {
    await this.#order('quit');
    const { exitCode } = await this.#process.exit;
    if (exitCode !== 0) throw new Error(`QEMU ended with ${exitCode}: ${this.#said}`);
  }

  kill(): Promise<GuestExit> {
    this.#process.signal('SIGKILL');
    return this.#process.exit;
  }

  #order(execute: string, parameters: object = {}): Promise<unknown> {
    const answered = Promise.withResolvers<unknown>();
    this.#answers.push(({ error, return: value }) => {
      if (error) answered.reject(new Error(`QEMU: ${execute}: ${error.desc} ${this.#said}`));
      else answered.resolve(value);
    });
    this.#process.write(`${JSON.stringify({ execute, arguments: parameters })}\n`);
    return Promise.race([answered.promise, this.#ended(execute)]);
  }

  #until(event: string): Promise<void> {
    const happened = Promise.withResolvers<void>();
    this.#events.set(event, happened);
    return Promise.race([happened.promise, this.#ended(event)]);
  }

  async #ended(waitedFor: string): Promise<never> {
    const { exitCode } = await this.#process.exit;
    // Its last output is still being delivered.
    await new Promise((resolve) => setTimeout(resolve, 100));
    throw new Error(`QEMU ended with ${exitCode} before ${waitedFor}: ${this.#said}`);
  }

  #hear(message: Message): void {
    if (message.event) this.#events.get(message.event)?.resolve();
    else if ('return' in message || message.error) this.#answers.shift()?.(message);
  }
}

/** The value of an option -device. */
function optionsOf(device: Passed, byCdev: boolean): string {
  const options = Object.entries({ ...device, ...(byCdev ? { iommufd: IOMMUFD } : {}) });
  return ['vfio-pci', ...options.map(([key, value]) => `${key}=${value}`)].join(',');
}
