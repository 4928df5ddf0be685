/**
 * Attribution of a violation: who holds the devices and VMs concerned, who created and removed the
 * device, what the blocked task waits for, and who waits behind it. The host is asked when a violation is raised, and
 * again every few seconds while it is ongoing.
 */

import type { Host } from '../events/host.ts';
import type { Task } from '../events/task.ts';
import { creatorOf } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { SECOND } from '../units.ts';
import { Holders, type Subject } from './holders.ts';
import type { Finding } from './rule.ts';
import type { Attribution, Blocked, Holder, Party, Waiters } from './violation.ts';
import { type Stall, WaitingBehind } from './waiters.ts';

/** From then on, ns, a call in flight may become a stall. */
const LONG = 1 * SECOND;
/** How many of these calls are looked at in one tick: each costs two reads of /proc. */
const LOOKS = 20;

export class Attributor {
  readonly #world: World;
  readonly #host: Host;
  readonly #holders: Holders;
  readonly #waitingBehind: WaitingBehind;

  constructor(world: World, host: Host) {
    this.#world = world;
    this.#host = host;
    this.#holders = new Holders(world, host);
    this.#waitingBehind = new WaitingBehind(world, host);
  }

  /**
   * Has the files of processes read, which takes a while, before a violation may ask who holds them.
   * @param stalls the calls that do not return and are violations now
   */
  prepare(stalls: readonly Stall[]): void {
    this.#holders.prepare();
    this.#waitingBehind.prepare(stalls);
    this.#lookAtCalls();
  }

  /** The stack of a thread is read only when it was seen asleep before: see {@link Host.blockedTask}. */
  #lookAtCalls(): void {
    const { calls, now } = this.#world;
    if (calls.size === 0) return;
    let looks = LOOKS;
    for (const call of calls) {
      if (now - call.began < LONG || looks-- === 0) return;
      this.#host.blockedTask?.(call.task);
    }
  }

  of(finding: Finding): Attribution {
    const { creator, requester } = finding.device ? creatorOf(finding.device) : {};
    const remover = (finding.device ?? finding.parent)?.remover;
    const blocked = this.#blocked(finding);
    return {
      holders: this.holders(finding),
      blocked,
      waiters: this.waiters(finding, blocked),
      creator: creator && this.party(creator),
      requester: requester && this.party(requester),
      remover: remover && this.party(remover),
    };
  }

  party(task: Task): Party {
    return { task, group: this.#host.controlGroup?.(task) };
  }

  /** Those who have the devices open that the finding is about, and files of its VM. */
  holders(finding: Subject): Holder[] {
    return this.#holders.of(finding);
  }

  /** Those who wait behind the blocked task; undefined until all tasks have been read. */
  waiters(finding: Finding, blocked: Blocked | undefined): Waiters | undefined {
    return this.#waitingBehind.of(finding, blocked?.inKernel);
  }

  #blocked({ blocked }: Finding): Blocked | undefined {
    return blocked && { ...this.party(blocked), inKernel: this.#host.blockedTask?.(blocked) };
  }
}
