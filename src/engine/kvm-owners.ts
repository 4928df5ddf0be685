/**
 * Which processes may hold a vcpu, kvm-vfio, statistics or debugfs file of a VM. /proc shows only that a
 * file is KVM's, not of which VM, so every process that has any counts, unless it created another VM.
 * What does not depend on the single VM is found once for all VMs: there may be thousands.
 */
import type { FileOwner } from '../events/host.ts';
import type { Vm } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';

/** The processes that created a VM that exists. */
export function creatorsOf({ vms }: Pick<World, 'vms'>): Set<number> {
  const creators = new Set<number>();
  for (const { task, isGone } of vms) if (task && !isGone) creators.add(task.pid);
  return creators;
}

/** How many are named of one VM. */
const MOST = 100;

export class KvmOwners {
  readonly #world: World;
  /** The answer that the two below are made of, and when. */
  #owners: readonly FileOwner[] = [];
  #asOf = -1;
  #byPid = new Map<number, FileOwner>();
  /** Those that created no VM that exists. */
  #outsiders: readonly FileOwner[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  /** Its creator first. */
  of({ task }: Vm, owners: readonly FileOwner[]): FileOwner[] {
    const { now } = this.#world;
    if (owners !== this.#owners || now !== this.#asOf) {
      this.#owners = owners;
      this.#asOf = now;
      const creators = creatorsOf(this.#world);
      const withFiles = owners.filter(({ kvmFiles }) => kvmFiles);
      this.#byPid = new Map(withFiles.map((owner) => [owner.pid, owner]));
      this.#outsiders = withFiles.filter(({ pid }) => !creators.has(pid)).slice(0, MOST);
    }
    const own = task && this.#byPid.get(task.pid);
    return own ? [own, ...this.#outsiders] : [...this.#outsiders];
  }
}
