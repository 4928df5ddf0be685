/**
 * Processes that pass the files of devices to each other in every way, and a host that shows of them
 * what a kernel shows. What a message says can be compared with what was done.
 */
import type { FileOwner, Host } from '../../src/events/host.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';
import type {
  Actor,
  Opening,
  Removal,
  ScenarioDevice,
  ScenarioVm,
} from '../../src/scenario/types.ts';

/** An open file of a device, whose descriptors may be in several processes. */
export interface DeviceFile {
  readonly device: ScenarioDevice;
  readonly opening: Opening;
  readonly opener: Process;
  /** The descriptor that the opener got. */
  readonly fd: number;
  /** Whether it is on its way through a socket, where no process has it. */
  inFlight: boolean;
}

/** A VM, and who has its file open. */
export interface TrueVm {
  readonly vm: ScenarioVm;
  readonly creator: Process;
  readonly owners: Set<Process>;
  /** ns on the boot-time clock, 0 while somebody has it open. */
  closedAt: number;
}

/** From its start to its end: another one may have its id afterwards. */
export interface Process {
  readonly pid: number;
  comm: string;
  /** All names that it has had. */
  readonly names: Set<string>;
  /** ns on the boot-time clock. */
  readonly startedAt: number;
  endedAt: number;
  readonly descriptors: Map<number, DeviceFile>;
  readonly mapped: Set<DeviceFile>;
  /** Above all numbers that it has had. */
  nextFd: number;
}

const FIRST_PID = 600;
/** Few, so that ids are used again. */
const PIDS = 6;
const FIRST_FD = 20;
const NAMES = ['qemu', 'dpdk', 'helper', 'crosvm'];
const ADMIN: Actor = { pid: 500, comm: 'admin' };

export class TrueHost {
  readonly processes: Process[] = [];
  readonly devices: ScenarioDevice[];
  readonly files = new Set<DeviceFile>();
  readonly vms: TrueVm[] = [];
  /** By UUID, ns on the boot-time clock. */
  readonly removalBegan = new Map<string, number>();
  readonly #scenario: Scenario;
  readonly #now: () => number;
  readonly #showsDevice: boolean;
  readonly #removals = new Map<ScenarioDevice, Removal>();

  /**
   * @param now the time of the latest step, ns on the boot-time clock
   * @param showsDevice whether the kernel shows of which device a file is, as it does since 6.13
   */
  constructor(scenario: Scenario, now: () => number, showsDevice: boolean, devices = 2) {
    this.#scenario = scenario;
    this.#now = now;
    this.#showsDevice = showsDevice;
    const parent = scenario.parent();
    this.devices = Array.from({ length: devices }, () => scenario.create(parent));
  }

  host(): Host {
    const showsDevice = this.#showsDevice;
    return {
      traits: LINUX_6_12,
      pidsWithKvmFiles: () =>
        new Set(this.vms.flatMap(({ owners }) => [...owners].map(({ pid }) => pid))),
      isAlive: (pid, at) => {
        const process = this.living.find((one) => one.pid === pid);
        return process !== undefined && process.startedAt <= at;
      },
      isExiting: () => false,
      hasDeviceFile: (pid, fd, device) => {
        const file = this.living.find((one) => one.pid === pid)?.descriptors.get(fd);
        return file !== undefined && (!showsDevice || file.device.uuid === device);
      },
      fileOwners: () =>
        this.living
          .map((one) => ownerOf(one, showsDevice, this.#vmsOf(one).length > 0))
          .filter(hasFiles),
    };
  }

  get living(): Process[] {
    return this.processes.filter(({ endedAt }) => endedAt === 0);
  }

  /** Those whose file the process has open. */
  #vmsOf(process: Process): TrueVm[] {
    return this.vms.filter(({ owners }) => owners.has(process));
  }

  isRemoving(device: ScenarioDevice): boolean {
    return this.#removals.has(device);
  }

  /** Those that have a file of the device, by a descriptor or by a mapping. */
  holdersOf(device: ScenarioDevice): Process[] {
    return this.living.filter(({ descriptors, mapped }) =>
      [...descriptors.values(), ...mapped].some((file) => file.device === device),
    );
  }

  /** Does one thing that is possible now. @param choice which one; any number */
  step(choice: number): void {
    const possible = this.#possible();
    possible[choice % possible.length]();
  }

  #possible(): (() => void)[] {
    const possible: (() => void)[] = [() => this.#scenario.wait(1), () => this.#scenario.wait(7)];
    const { living } = this;
    const free = freePid(living);
    if (free !== undefined) possible.push(() => this.#start(free));
    for (const process of living) {
      possible.push(...this.#possibleFor(process));
      for (const device of this.devices) {
        if (!this.isRemoving(device)) possible.push(() => this.#open(process, device));
      }
      const vms = this.#vmsOf(process);
      if (vms.length === 0) possible.push(() => this.#createVm(process));
      for (const one of vms) possible.push(() => this.#closeVm(one, process));
    }
    for (const device of this.devices) {
      // One that nobody has open is gone at once.
      if (device.openCount > 0 && !this.isRemoving(device))
        possible.push(() => this.#remove(device));
    }
    for (const file of this.files) {
      if (!file.inFlight) continue;
      possible.push(() => this.#lose(file));
      for (const process of living) possible.push(() => this.#receive(process, file));
    }
    return possible;
  }

  #possibleFor(process: Process): (() => void)[] {
    const { descriptors, mapped } = process;
    const possible = [() => this.#exec(process), () => this.#exit(process)];
    const free = freePid(this.living);
    if (free !== undefined) possible.push(() => this.#fork(process, free));
    for (const [fd, file] of descriptors) {
      possible.push(
        () => {
          descriptors.set(this.#unobservedFd(process), file);
        },
        () => {
          descriptors.delete(fd);
          this.#drop(file, process);
        },
        () => {
          mapped.add(file);
        },
        () => {
          file.inFlight = true;
        },
      );
    }
    for (const file of mapped) {
      possible.push(() => {
        mapped.delete(file);
        this.#drop(file, process);
      });
    }
    return possible;
  }

  #start(pid: number): Process {
    // A process is not started in the same instant in which another one with its id did something.
    this.#scenario.wait(1);
    const comm = NAMES[(pid + this.processes.length) % NAMES.length];
    const process: Process = {
      ...{ pid, comm, names: new Set([comm]), startedAt: this.#now(), endedAt: 0 },
      ...{ descriptors: new Map(), mapped: new Set(), nextFd: FIRST_FD },
    };
    this.processes.push(process);
    this.#scenario.wait(1);
    return process;
  }

  #open(process: Process, device: ScenarioDevice): void {
    const fd = freeFd(process);
    process.nextFd = Math.max(process.nextFd, fd + 1);
    const as = actorOf(process);
    const own = this.vms.find(({ creator, owners }) => creator === process && owners.has(process));
    const opening = this.#scenario.open(device, { as, fd, ...(own ? { vm: own.vm } : {}) });
    const file = { device, opening, opener: process, fd, inFlight: false };
    this.files.add(file);
    process.descriptors.set(fd, file);
  }

  #fork(parent: Process, pid: number): void {
    const child = this.#start(pid);
    child.comm = parent.comm;
    child.names.add(parent.comm);
    for (const [fd, file] of parent.descriptors) child.descriptors.set(fd, file);
    child.nextFd = parent.nextFd;
    for (const file of parent.mapped) child.mapped.add(file);
    for (const { owners } of this.#vmsOf(parent)) owners.add(child);
  }

  #createVm(process: Process): void {
    const vm = this.#scenario.createVm({ as: actorOf(process) });
    this.vms.push({ vm, creator: process, owners: new Set([process]), closedAt: 0 });
  }

  #closeVm(one: TrueVm, process: Process): void {
    one.owners.delete(process);
    if (one.owners.size > 0) return;
    this.#scenario.closeVm(one.vm, { as: actorOf(process) });
    one.closedAt = this.#now();
  }

  /** Descriptors of devices survive it where a VMM clears their close-on-exec flag; mappings and VMs never do. */
  #exec(process: Process): void {
    process.comm = NAMES[(NAMES.indexOf(process.comm) + 1) % NAMES.length];
    process.names.add(process.comm);
    const files = [...process.mapped];
    process.mapped.clear();
    for (const file of files) this.#drop(file, process);
    for (const one of this.#vmsOf(process)) this.#closeVm(one, process);
  }

  #exit(process: Process): void {
    const files = new Set([...process.descriptors.values(), ...process.mapped]);
    process.descriptors.clear();
    process.mapped.clear();
    for (const file of files) this.#drop(file, process, true);
    for (const one of this.#vmsOf(process)) this.#closeVm(one, process);
    process.endedAt = this.#now();
  }

  #receive(process: Process, file: DeviceFile): void {
    file.inFlight = false;
    process.descriptors.set(this.#unobservedFd(process), file);
  }

  /**
   * The number of a descriptor that no event shows. Where the kernel does not show of which device a file
   * is, nobody could know that it is another one than was opened at that number: a known blind spot.
   */
  #unobservedFd(process: Process): number {
    return this.#showsDevice ? freeFd(process) : process.nextFd++;
  }

  /** Whoever has the socket ends without receiving it. */
  #lose(file: DeviceFile): void {
    file.inFlight = false;
    this.#drop(file, { ...NOBODY, endedAt: 0 });
  }

  #remove(device: ScenarioDevice): void {
    const removal = this.#scenario.removeBegins(device, { as: ADMIN });
    this.#removals.set(device, removal);
    this.removalBegan.set(device.uuid, this.#now());
  }

  /** A process has one reference less; the last one closes the file. */
  #drop(file: DeviceFile, process: Process, exiting = false): void {
    const isHeld = this.processes.some(
      ({ descriptors, mapped }) => mapped.has(file) || [...descriptors.values()].includes(file),
    );
    if (isHeld || file.inFlight) return;
    this.files.delete(file);
    this.#scenario.close({ ...file.opening, task: actorOf(process) }, { exiting });
    this.#endRemoval(file.device);
  }

  #endRemoval(device: ScenarioDevice): void {
    const removal = this.#removals.get(device);
    if (!removal || device.openCount > 0) return;
    this.#scenario.removeEnds(removal);
    this.#removals.delete(device);
    this.devices.splice(this.devices.indexOf(device), 1);
  }
}

/** The kernel's worker that frees what was in a socket. */
const NOBODY: Process = {
  ...{ pid: 40, comm: 'kworker/0:1', names: new Set<string>(), startedAt: 0, endedAt: 0 },
  ...{ descriptors: new Map(), mapped: new Set<DeviceFile>(), nextFd: 0 },
};

function actorOf({ pid, comm }: Process): Actor {
  return { pid, comm };
}

function freePid(living: readonly Process[]): number | undefined {
  const pids = Array.from({ length: PIDS }, (_, i) => FIRST_PID + i);
  return pids.find((pid) => !living.some((one) => one.pid === pid));
}

function freeFd({ descriptors }: Process): number {
  let fd = FIRST_FD;
  while (descriptors.has(fd)) fd++;
  return fd;
}

function ownerOf(process: Process, showsDevice: boolean, kvmFiles: boolean): FileOwner {
  const { pid, comm, startedAt, descriptors, mapped } = process;
  return {
    ...{ pid, comm, uid: 0, startedAt, kvmFiles, groupFiles: [], cdevFiles: [] },
    deviceFiles: [...descriptors].map(([fd, { device }]) => ({
      fd,
      ...(showsDevice ? { device: device.uuid } : {}),
    })),
    // No kernel shows of which device a mapped file is, unless it is a cdev.
    mappedDevices: [...mapped].map(() => ({})),
  };
}

function hasFiles({ deviceFiles, mappedDevices, kvmFiles }: FileOwner): boolean {
  return deviceFiles.length + mappedDevices.length > 0 || kvmFiles;
}
