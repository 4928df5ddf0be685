/**
 * What processes of the random host do: they pass the files of devices, groups and cdevs to each other in every
 * way, while an administrator removes the devices.
 */
import { EBUSY, EINVAL, ENOMEM } from '../../src/engine/errno.ts';
import {
  bindCdev,
  bindCdevFails,
  closeCdev,
  openCdev,
  setCdevKvm,
} from '../../src/scenario/cdev.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';
import type { Actor, ScenarioDevice } from '../../src/scenario/types.ts';
import { closeGroup, mapFails, openGroup, unsetContainer } from '../../src/scenario/vfio.ts';
import {
  actorOf,
  type CdevFile,
  type DeviceFile,
  freeFd,
  type GroupFile,
  give,
  NOBODY,
  newProcess,
  type Process,
  type TrueFile,
  type TrueGroup,
} from './true-files.ts';
import { isViable, SIBLING_DRIVERS } from './true-groups.ts';
import type { TrueHost, TrueVm } from './true-host.ts';

const FIRST_PID = 600;
/** Few, so that ids are used again. */
const PIDS = 6;
const NAMES = ['qemu', 'dpdk', 'helper', 'crosvm'];
const ADMIN: Actor = { pid: 500, comm: 'admin' };

export class TrueSteps {
  readonly #host: TrueHost;
  readonly #scenario: Scenario;

  constructor(host: TrueHost, scenario: Scenario) {
    this.#host = host;
    this.#scenario = scenario;
  }

  /** Does one thing that is possible now. @param choice which one; any number */
  take(choice: number): void {
    const possible = this.#possible();
    possible[choice % possible.length]();
  }

  #possible(): (() => void)[] {
    const possible: (() => void)[] = [() => this.#scenario.wait(1), () => this.#scenario.wait(7)];
    const { living } = this.#host;
    const free = freePid(living);
    if (free !== undefined) possible.push(() => this.#start(free));
    for (const process of living) {
      possible.push(...this.#possibleFor(process));
      const vms = this.#host.vmsOf(process);
      if (vms.length === 0) possible.push(() => this.#createVm(process));
      for (const one of vms) possible.push(() => this.#closeVm(one, process));
    }
    for (const device of this.#host.devices) {
      // One that nothing keeps is gone at once.
      if (this.#host.isKept(device) && !this.#host.isRemoving(device))
        possible.push(() => this.#remove(device));
    }
    for (const group of this.#host.groups) {
      const isClaimed = group.file?.hasContainer || this.#host.boundIn(group);
      if (group.sibling && !isClaimed) possible.push(() => changeDriver(group));
    }
    for (const file of this.#host.files) {
      if (!file.inFlight) continue;
      possible.push(() => this.#lose(file));
      for (const process of living) possible.push(() => this.#receive(process, file));
    }
    return possible;
  }

  #possibleFor(process: Process): (() => void)[] {
    const { descriptors, mapped } = process;
    const possible = [() => this.#exec(process), () => this.#exit(process)];
    const free = freePid(this.#host.living);
    if (free !== undefined) possible.push(() => this.#fork(process, free));
    for (const device of this.#host.devices) {
      if (this.#host.isRemoving(device)) continue;
      possible.push(() => this.#open(process, device));
      if (!this.#host.kernel.hasCdevs) continue;
      possible.push(
        () => this.#openCdev(process, device),
        () => this.#bind(process, this.#openCdev(process, device)),
      );
    }
    for (const group of this.#host.groups) {
      if (group.devices.size > 0) possible.push(() => this.#openGroup(process, group, false));
    }
    for (const [fd, file] of descriptors) {
      possible.push(
        () => give(process, file, this.#unobservedFd(process)),
        () => {
          descriptors.delete(fd);
          this.#drop(file, process);
        },
        () => {
          file.inFlight = true;
        },
        ...this.#possibleWith(process, file),
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

  #possibleWith(process: Process, file: TrueFile): (() => void)[] {
    if (file.is === 'group') {
      return [
        () => this.#unsetContainer(process, file),
        () => {
          mapFails(this.#scenario, ENOMEM, { as: actorOf(process) });
          this.#host.refuse('mapping for DMA', file.group, process);
        },
      ];
    }
    if (file.is === 'cdev' && !file.binder) {
      return this.#host.isRemoving(file.device) ? [] : [() => this.#bind(process, file)];
    }
    return [() => process.mapped.add(file)];
  }

  #start(pid: number): Process {
    // A process is not started in the same instant in which another one with its id did something.
    this.#scenario.wait(1);
    const comm = NAMES[(pid + this.#host.processes.length) % NAMES.length];
    const process = newProcess(pid, comm, this.#host.now());
    this.#host.processes.push(process);
    this.#scenario.wait(1);
    return process;
  }

  /** As a VMM does, which opens the group first, unless it has that. */
  #open(process: Process, device: ScenarioDevice): void {
    const group = this.#host.groupOf(device);
    const file = fileOf(process, group) ?? this.#openGroup(process, group, true);
    if (file) this.#request(process, file, device);
  }

  #openGroup(process: Process, group: TrueGroup, sets: boolean): GroupFile | undefined {
    const as = actorOf(process);
    if (group.file || this.#host.boundIn(group)) {
      this.#scenario.groupOpenFails(group.device, EBUSY, { as });
      this.#host.refuse('open of group', group, process);
      return undefined;
    }
    openGroup(this.#scenario, group.device, { as });
    const file: GroupFile = {
      ...{ is: 'group', group, opener: process, openedAt: this.#host.now(), closedAt: 0 },
      ...{ hasContainer: sets && isViable(group), requests: 0, keptBy: new Set(), inFlight: false },
    };
    group.file = file;
    this.#host.add(file);
    give(process, file);
    return file;
  }

  #request(process: Process, group: GroupFile, device: ScenarioDevice): void {
    const as = actorOf(process);
    group.requests++;
    if (!group.hasContainer) {
      this.#scenario.getFdFails(device, EINVAL, { as });
      this.#host.refuse('request', group.group, process, device);
      return;
    }
    const fd = freeFd(process);
    const vm = this.#host.ownVm(process);
    const opening = this.#scenario.open(device, { as, fd, ...(vm ? { vm } : {}) });
    // The VM is set for the group.
    for (const other of group.group.devices) other.groupVm = device.groupVm;
    if (vm) group.keptBy.add(vm);
    const file: DeviceFile = {
      ...{ is: 'device', device, opening, opener: process, fd, group, inFlight: false },
    };
    this.#host.add(file);
    give(process, file, fd);
  }

  #unsetContainer(process: Process, file: GroupFile): void {
    const as = actorOf(process);
    const { group } = file;
    if (this.#host.openIn(group).length > 0) {
      unsetContainer(this.#scenario, group.device, { as, error: EBUSY });
      this.#host.refuse('unset of container', group, process);
    } else if (file.hasContainer) {
      unsetContainer(this.#scenario, group.device, { as });
      file.hasContainer = false;
      this.#endRemovals();
    }
  }

  #openCdev(process: Process, device: ScenarioDevice): CdevFile {
    const cdev = openCdev(this.#scenario, device, { as: actorOf(process) });
    const file: CdevFile = {
      ...{ is: 'cdev', device, cdev, keptBy: new Set(), inFlight: false },
      ...{ opener: process, openedAt: this.#host.now(), binder: undefined, boundAt: 0 },
    };
    this.#host.add(file);
    give(process, file);
    return file;
  }

  #bind(process: Process, file: CdevFile): void {
    const as = actorOf(process);
    const { cdev, device } = file;
    const group = this.#host.groupOf(device);
    if (group.file) {
      bindCdevFails(this.#scenario, cdev, EBUSY, { as, at: 'group' });
      this.#host.refuse('bind', group, process, device);
      return;
    }
    if (device.openCount > 0) {
      bindCdevFails(this.#scenario, cdev, EINVAL, { as, at: 'device' });
      this.#host.refuse('bind', group, process, device);
      return;
    }
    const vm = this.#host.ownVm(process);
    if (vm) {
      setCdevKvm(this.#scenario, cdev, vm, { as });
      file.keptBy.add(vm);
    }
    bindCdev(this.#scenario, cdev, { as });
    file.binder = process;
    file.boundAt = this.#host.now();
  }

  #fork(parent: Process, pid: number): void {
    const child = this.#start(pid);
    child.comm = parent.comm;
    child.names.add(parent.comm);
    for (const [fd, file] of parent.descriptors) child.descriptors.set(fd, file);
    child.nextFd = parent.nextFd;
    for (const file of parent.mapped) child.mapped.add(file);
    for (const { owners } of this.#host.vmsOf(parent)) owners.add(child);
  }

  #createVm(process: Process): void {
    const vm = this.#scenario.createVm({ as: actorOf(process) });
    this.#host.vms.push({ vm, creator: process, owners: new Set([process]), closedAt: 0 });
  }

  /** Whoever has its file has that of its kvm-vfio, too. */
  #closeVm(one: TrueVm, process: Process, exiting = false): void {
    one.owners.delete(process);
    if (one.owners.size > 0) return;
    const as = actorOf(process);
    const kept = [...this.#host.files].filter(
      (file) => file.is !== 'device' && file.keptBy.delete(one.vm),
    );
    for (const file of kept) {
      if (file.is === 'cdev') setCdevKvm(this.#scenario, file.cdev, undefined, { as });
      else if (file.is === 'group') {
        this.#scenario.clearKvm(file.group.device, { as, exiting });
        for (const device of file.group.devices) device.groupVm = undefined;
      }
      this.#drop(file, process, exiting);
    }
    this.#scenario.closeVm(one.vm, { as });
    one.closedAt = this.#host.now();
  }

  /** Descriptors of devices survive it where a VMM clears their close-on-exec flag; mappings and VMs never do. */
  #exec(process: Process): void {
    process.comm = NAMES[(NAMES.indexOf(process.comm) + 1) % NAMES.length];
    process.names.add(process.comm);
    const files = [...process.mapped];
    process.mapped.clear();
    for (const file of files) this.#drop(file, process);
    for (const one of this.#host.vmsOf(process)) this.#closeVm(one, process);
  }

  #exit(process: Process): void {
    const files = new Set<TrueFile>([...process.descriptors.values(), ...process.mapped]);
    process.descriptors.clear();
    process.mapped.clear();
    for (const file of files) this.#drop(file, process, true);
    for (const one of this.#host.vmsOf(process)) this.#closeVm(one, process, true);
    process.endedAt = this.#host.now();
  }

  #receive(process: Process, file: TrueFile): void {
    file.inFlight = false;
    give(process, file, this.#unobservedFd(process));
  }

  /**
   * The number of a descriptor that no event shows. Where the kernel does not show of which device a file
   * is, nobody could know that it is another one than was opened at that number: a known blind spot.
   */
  #unobservedFd(process: Process): number {
    return this.#host.kernel.showsDevice ? freeFd(process) : process.nextFd;
  }

  /** Whoever has the socket ends without receiving it. */
  #lose(file: TrueFile): void {
    file.inFlight = false;
    this.#drop(file, NOBODY);
  }

  #remove(device: ScenarioDevice): void {
    const as = ADMIN;
    if (device.parent) {
      const removal = this.#scenario.removeBegins(device, { as });
      this.#host.removals.set(device, () => this.#scenario.removeEnds(removal));
    } else {
      this.#scenario.unbindPciBegins(device, { as });
      this.#host.removals.set(device, () => this.#scenario.unbindPciEnds(device, { as }));
    }
    this.#host.removalBegan.set(device.uuid, this.#host.now());
  }

  /** Something refers to a file once less; the last one closes it. */
  #drop(file: TrueFile, process: Process, exiting = false): void {
    if (!this.#host.files.has(file) || this.#host.isReferred(file)) return;
    this.#host.files.delete(file);
    const as = actorOf(process);
    switch (file.is) {
      case 'device':
        this.#scenario.close({ ...file.opening, task: as }, { exiting });
        this.#drop(file.group, process, exiting);
        break;
      case 'cdev':
        closeCdev(this.#scenario, file.cdev, { as });
        break;
      case 'group':
        closeGroup(this.#scenario, file.group.device, { as, container: file.hasContainer });
        file.closedAt = this.#host.now();
        if (file.requests === 0 && !isViable(file.group) && file.group.devices.size > 0)
          this.#host.refuse('nothing, but it is not viable', file.group, file.opener);
        file.group.file = undefined;
    }
    this.#endRemovals();
  }

  #endRemovals(): void {
    for (const [device, end] of this.#host.removals) {
      if (this.#host.isKept(device)) continue;
      end();
      this.#host.removals.delete(device);
      this.#host.devices.splice(this.#host.devices.indexOf(device), 1);
      this.#host.groupOf(device).devices.delete(device);
    }
  }
}

function changeDriver(group: TrueGroup): void {
  const { name, driver } = group.sibling ?? { name: '' };
  const next = (SIBLING_DRIVERS.indexOf(driver as undefined) + 1) % SIBLING_DRIVERS.length;
  group.sibling = { name, driver: SIBLING_DRIVERS[next] };
}

function fileOf({ descriptors }: Process, { file }: TrueGroup): GroupFile | undefined {
  return file && [...descriptors.values()].includes(file) ? file : undefined;
}

function freePid(living: readonly Process[]): number | undefined {
  const pids = Array.from({ length: PIDS }, (_, i) => FIRST_PID + i);
  return pids.find((pid) => !living.some((one) => one.pid === pid));
}
