/**
 * Who is behind a violation: who has what is in the way, who made and removed the device, and what
 * the task waits for that is blocked. The host is asked when a violation is raised, and now and then
 * while it lasts.
 */
import type { Device, Open, Task, Vm } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import type { FileOwner, Finding, Host } from './rule.ts';
import type { Behind, Blocked, Holder, Party } from './violation.ts';
import { vmReference } from './words.ts';

type About = Pick<Finding, 'device' | 'vm' | 'parent' | 'lasting'>;

/** More than that many are not kept with one violation. */
const MOST = 100;

export class Culprits {
  readonly #world: World;
  readonly #host: Host;

  constructor(world: World, host: Host) {
    this.#world = world;
    this.#host = host;
  }

  of(finding: Finding): Behind {
    const creator = finding.device?.creator;
    const remover = (finding.device ?? finding.parent)?.remover;
    return {
      holders: this.holders(finding),
      blocked: this.#blocked(finding),
      creator: creator && this.party(creator),
      remover: remover && this.party(remover),
    };
  }

  party(task: Task): Party {
    return { task, group: this.#host.controlGroup?.(task) };
  }

  #blocked({ blocked }: Finding): Blocked | undefined {
    return blocked && { ...this.party(blocked), inKernel: this.#host.blockedTask?.(blocked) };
  }

  /** Those who have the devices open that it is about, and files of its VM. */
  holders(finding: About): Holder[] {
    const { vm, lasting } = finding;
    const devices = devicesOf(finding);
    const opens = devices.flatMap((device) => device.opens);
    // Of an act only the moment counts; who has the files a little later says nothing of it.
    const holders = opens.map((open) => this.#holder(open, lasting ? this.#has(open) : undefined));
    const isOneUnknown =
      holders.some(({ how }) => how === 'passed on') ||
      devices.some(({ openCount, opens }) => openCount > opens.length);
    const isAboutVm = vm !== undefined && !finding.device;
    const owners = lasting && (isOneUnknown || isAboutVm) ? this.#host.fileOwners?.(0) : undefined;
    if (isAboutVm) holders.push(...this.#holdersOfVm(vm, owners ?? []));
    if (isOneUnknown) holders.push(...this.#takers(owners ?? [], devices));
    return holders.slice(0, MOST);
  }

  /** Who has the VM's own file, and who may have others of it. */
  #holdersOfVm(vm: Vm, owners: readonly FileOwner[]): Holder[] {
    const about = { device: undefined, vm: vmReference(vm) };
    if (vm.state === 'running') {
      const { task, fd, createdAt: since } = vm;
      const own = { holds: 'vm', how: 'opened', fd, since, ...about } as const;
      return task ? [{ ...this.party(task), ...own }] : [];
    }
    const makersOfOthers = new Set<number>();
    for (const other of this.#world.vms) {
      if (other !== vm && other.task) makersOfOthers.add(other.task.pid);
    }
    const some = { holds: 'kvm', how: 'may hold', fd: -1, since: 0, ...about } as const;
    return owners
      .filter(({ kvmFiles }) => kvmFiles)
      .filter(({ pid }) => pid === vm.task?.pid || !makersOfOthers.has(pid))
      .map((owner) => ({ ...this.#owner(owner), ...some }));
  }

  /** @param has whether its opener has it still, undefined when that is not known */
  #holder(open: Open, has: boolean | undefined): Holder {
    const how = has === undefined ? 'opened' : has ? 'holds' : 'passed on';
    return {
      ...this.party(open.task),
      ...{ holds: 'device', how, device: open.device.name, fd: open.fd, since: open.openedAt },
      vm: open.vm && vmReference(open.vm),
    };
  }

  #has({ task, fd }: Open): boolean | undefined {
    return fd < 0 ? undefined : this.#host.hasDeviceFile?.(task.pid, fd);
  }

  /** Those who have device files that they were not seen to open: a copy of one of these, maybe. */
  #takers(owners: readonly FileOwner[], devices: readonly Device[]): Holder[] {
    const known = new Set<string>();
    for (const device of this.#world.devices) {
      for (const { task, fd } of device.opens) known.add(`${task.pid} ${fd}`);
    }
    const names = new Set(devices.map(({ name }) => name));
    return owners.flatMap((owner) =>
      owner.deviceFiles
        .filter(({ device }) => device === undefined || names.has(device))
        .filter(({ fd }) => !known.has(`${owner.pid} ${fd}`))
        .map(({ fd, device }): Holder => {
          const how = device === undefined ? 'may hold' : 'holds';
          const base = { holds: 'device', how, device, fd, vm: undefined, since: 0 } as const;
          return { ...this.#owner(owner), ...base };
        }),
    );
  }

  #owner({ pid, comm, uid }: FileOwner): Party {
    return this.party({ pid, tid: pid, comm, uid, cgroup: 0 });
  }
}

/** A UUID may be taken by a device that an earlier create has made. */
function devicesOf({ device, vm, parent }: About): Device[] {
  if (device) return device.holder ? [device, device.holder] : [device];
  return [...((vm ?? parent)?.devices ?? [])];
}
