// SPDX-License-Identifier: Apache-2.0
import type { GuestExit, GuestProcess } from './guest.ts';
import type { Vm } from './vm.ts';

export interface StormOptions {
  /** Processes; one unless given. */
  workers?: number;
  /** Rounds of each process, one unless given; 0 is endless, or until `hold`. */
  rounds?: number;
  /** Pause of each process after each round, ms; none unless given. */
  rest?: number;
  /** mdev types as [parent, type], such as ["mtty", "mtty-1"], used in turn. */
  types?: readonly (readonly [parent: string, type: string])[];
  /** Open each device as a VMM does. */
  open?: boolean;
  /** Each by its cdev, bound to an iommufd context, and not by its group. */
  cdev?: boolean;
  /** With a VM. */
  kvm?: boolean;
  /** Rounds for which a process keeps one VM. */
  vmsEvery?: number;
  /** Two devices in each round; the second is created after the first and removed before it. */
  nested?: boolean;
  /** Keep the devices of the last rounds of each process until `end`. */
  keep?: number;
  /** Instead of devices: take and put references to VMs. */
  loop?: 'kvm';
  /** The report file in the VM, which `devices` reads. */
  report?: string;
}

/** What the kernel granted and refused; an error is counted under the operation that failed. */
export interface StormTotals {
  state: 'holding' | 'done';
  seconds: number;
  creates: number;
  createErrors: number;
  /** Devices opened, and those descriptors closed. */
  opens: number;
  openErrors: number;
  closes: number;
  vms: number;
  vmErrors: number;
  vmEnds: number;
  vcpus: number;
  /** Other references to VMs: kvm-vfio devices, and files of statistics. */
  references: number;
  referenceErrors: number;
  /**
   * Calls of kvm_put_kvm() by the close of VMs and other references. For a vcpu the compiler has
   * put it into the caller, where no probe sees it. With `open` VFIO or the driver calls it too,
   * which is not counted here.
   */
  puts: number;
  removes: number;
  removeErrors: number;
}

/** What happened to one device. */
export interface StormDevice {
  uuid: string;
  parent: string;
  type: string;
  created: boolean;
  /** The operation that failed first, and its error, such as "ENOSPC". */
  failed?: 'create' | 'vm' | 'open' | 'remove';
  errno?: string;
  opens: number;
  vms: number;
  /** The device is kept, and has not been removed yet. */
  held: boolean;
  removed: boolean;
  pid: number;
}

/** Runs storm/storm.c in the VM. */
export class Storm {
  readonly #vm: Vm;
  readonly #report: string | undefined;
  readonly #process: GuestProcess;
  readonly #holding = Promise.withResolvers<StormTotals>();
  readonly #done = Promise.withResolvers<StormTotals>();
  #totals: StormTotals | undefined;
  #received = '';
  #errors = '';

  constructor(vm: Vm, options: StormOptions) {
    this.#vm = vm;
    this.#report = options.report;
    this.#process = vm.start(['storm', ...stormArguments(options)], {
      onStdout: (chunk) => this.#receive(chunk.toString()),
      onStderr: (chunk) => {
        this.#errors += chunk.toString();
      },
    });
    const ended = (error: Error) => {
      this.#holding.reject(error);
      this.#done.reject(error);
    };
    this.#process.exit.then(({ exitCode }) => {
      if (exitCode === 0 && this.#totals !== undefined) {
        this.#done.resolve(this.#totals);
      }
      ended(new Error(`storm has ended (exit ${exitCode}) ${this.#errors}`));
    }, ended);
    // A caller may wait for only one of them.
    this.#holding.promise.catch(() => {});
    this.#done.promise.catch(() => {});
  }

  /** Settles when all devices that are kept exist. */
  get holding(): Promise<StormTotals> {
    return this.#holding.promise;
  }

  /** Settles when the storm has ended by itself, or after `end`. */
  get done(): Promise<StormTotals> {
    return this.#done.promise;
  }

  /** Makes the next rounds of an endless storm the last ones, whose devices are kept. */
  hold(): Promise<StormTotals> {
    this.#process.signal('SIGUSR1');
    return this.holding;
  }

  /** Ends the rounds, and removes the kept devices. */
  end(): Promise<StormTotals> {
    this.#process.signal('SIGTERM');
    return this.done;
  }

  /** Ends it as a crash would: the devices stay, closed by the kernel. */
  kill(): Promise<GuestExit> {
    this.#process.signal('SIGKILL');
    return this.#process.exit;
  }

  /** The devices so far, by uuid; the kept ones are in the report once `holding` has settled. */
  async devices(): Promise<Map<string, StormDevice>> {
    if (this.#report === undefined) {
      throw new Error('this storm was started without a report');
    }
    const { stdout } = await this.#vm.run(['cat', this.#report]);
    return readReport(stdout);
  }

  #receive(text: string): void {
    const lines = (this.#received + text).split('\n');
    this.#received = lines.pop() ?? '';
    for (const line of lines) {
      this.#totals = JSON.parse(line) as StormTotals;
      if (this.#totals.state === 'holding') {
        this.#holding.resolve(this.#totals);
      }
    }
  }
}

/** The arguments of the program. */
export function stormArguments(options: StormOptions): string[] {
  const files = options.types?.map(
    ([parent, type]) => `/sys/class/mdev_bus/${parent}/mdev_supported_types/${type}/create`,
  );
  const valued = {
    '--workers': options.workers,
    '--rounds': options.rounds,
    '--rest': options.rest,
    '--create': files?.join(','),
    '--vms-every': options.vmsEvery,
    '--keep': options.keep,
    '--loop': options.loop,
    '--report': options.report,
  };
  const { open, cdev, kvm, nested } = options;
  const flags = { '--open': open, '--cdev': cdev, '--kvm': kvm, '--nested': nested };
  return [
    ...Object.entries(valued).flatMap(([name, value]) =>
      value === undefined ? [] : [name, String(value)],
    ),
    ...Object.entries(flags).flatMap(([name, value]) => (value === true ? [name] : [])),
  ];
}

/** Reads a report; of a kept device the later line counts. The totals at the end are left out. */
export function readReport(text: string): Map<string, StormDevice> {
  const devices = new Map<string, StormDevice>();
  for (const line of text.split('\n').filter((part) => part !== '')) {
    const entry = JSON.parse(line) as StormDevice | StormTotals;
    if ('uuid' in entry) {
      devices.set(entry.uuid, entry);
    }
  }
  return devices;
}
