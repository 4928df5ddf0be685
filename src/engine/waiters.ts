/**
 * Who waits behind a call that does not return. The kernel does not show which task has a lock, so most
 * of it is inferred: from the stacks of all tasks in state D, and from the calls in flight, which show
 * about which object a task's call is. The host is asked only while such a call is a violation.
 */
import type { BlockedTask, Host, WaitingTask, WaitingTasks } from '../events/host.ts';
import type { TrackedObject } from '../lifecycle/tracked-object.ts';
import type { World } from '../lifecycle/world.ts';
import { SECOND } from '../units.ts';
import { objectsOf } from './call-objects.ts';
import { subjectOf } from './found.ts';
import type { Finding } from './rule.ts';
import type { Party, Waiter, Waiters } from './violation.ts';
import { hasDeviceLock, type WaitsFor, waitOf } from './wait-cycle.ts';

/** How many waiters are kept with one violation; the others are counted. */
const MOST = 16;
/** How long it is still said who waits, on a host where reading all tasks takes long; ns. */
const LAST = 30 * SECOND;

/** A call that does not return and is a violation. */
export interface Stall {
  readonly subject: TrackedObject | undefined;
  /** The thread that made the call. */
  readonly tid: number;
}

/** A task of the host that waits for others in the driver core or inside VFIO. */
interface Candidate {
  readonly task: WaitingTask;
  readonly waitsFor: WaitsFor;
  /** Looked up once, when it is first listed. */
  party?: Party;
}

/** A candidate whose own call about a stalled object was observed. */
interface Known {
  readonly candidate: Candidate;
  /** When that call began, ns on the boot-time clock. */
  readonly callBegan: number;
}

/** The candidates of one answer, sorted by what is known of them. */
interface Sorted {
  /** By the object that their calls are about. */
  readonly known: ReadonlyMap<TrackedObject, readonly Known[]>;
  readonly forDeviceLock: readonly Candidate[];
  readonly insideVfio: readonly Candidate[];
}

export class WaitingBehind {
  readonly #world: World;
  readonly #host: Host;
  /** The threads that are stalled: several violations may be about the call of one. */
  #stalled: ReadonlySet<number> = new Set();
  /** When the oldest stalled call about each object began. */
  #oldest = new Map<TrackedObject, number>();
  #answer: WaitingTasks | undefined;
  /** Of the answer above. */
  #candidates: readonly Candidate[] = [];
  /** The same, as of the latest tick. */
  #sorted: Sorted | undefined;

  constructor(world: World, host: Host) {
    this.#world = world;
    this.#host = host;
  }

  /** At each tick. @param stalls all that are violations now */
  prepare(stalls: readonly Stall[]): void {
    this.#stalled = new Set(stalls.map(({ tid }) => tid));
    this.#oldest = new Map();
    for (const { subject, tid } of stalls) this.#addStall(subject, this.#beganOf(tid, subject));
    this.#sorted = undefined;
  }

  /**
   * Those who wait behind the call of a finding.
   * @param inKernel where that call is blocked
   * @returns undefined where the finding is about no such call, and until the tasks have been read
   */
  of(finding: Finding, inKernel: BlockedTask | undefined): Waiters | undefined {
    const { blocked, ongoing } = finding;
    if (!blocked || !ongoing) return undefined;
    const { tid } = blocked;
    const subject = subjectOf(finding);
    const began = this.#beganOf(tid, subject);
    // Nobody waits behind a call that has not begun.
    const answer = this.#host.waitingTasks?.(Math.max(this.#world.now - LAST, began ?? 0));
    if (!answer) return undefined;
    this.#addStall(subject, began);
    const { known, forDeviceLock, insideVfio } = this.#sort(answer);
    const later = subject && began !== undefined ? (known.get(subject) ?? []) : [];
    const sure = later.filter(({ callBegan }) => callBegan > (began ?? 0));
    const isOther = ({ task }: Candidate) => task.tid !== tid;
    const locks = forDeviceLock.filter(isOther);
    const inside = insideVfio.filter(isOther);
    const isLocked = this.#isOnlyStall(tid) && inKernel !== undefined && hasDeviceLock(inKernel);
    const inferred = (how: Waiter['how'], from: readonly Candidate[]) =>
      from.slice(0, MOST).map((candidate) => this.#waiter(candidate, how));
    const listed = [
      ...sure.slice(0, MOST).map((one) => this.#waiter(one.candidate, 'waits', one.callBegan)),
      ...inferred(isLocked ? 'probably waits' : 'may wait', locks),
      ...inferred('may wait', inside),
    ];
    return {
      sure: sure.length,
      probable: isLocked ? locks.length : 0,
      possible: inside.length + (isLocked ? 0 : locks.length),
      listed: listed.slice(0, MOST),
      missing: answer.missing,
    };
  }

  #isOnlyStall(tid: number): boolean {
    return this.#stalled.size === (this.#stalled.has(tid) ? 1 : 0);
  }

  #addStall(subject: TrackedObject | undefined, began: number | undefined): void {
    if (subject === undefined || began === undefined) return;
    const oldest = this.#oldest.get(subject);
    if (oldest !== undefined && oldest <= began) return;
    this.#oldest.set(subject, began);
    this.#sorted = undefined;
  }

  /** Once for all stalls of a tick: there may be many of them, and many candidates. */
  #sort(answer: WaitingTasks): Sorted {
    if (answer !== this.#answer) {
      this.#answer = answer;
      this.#sorted = undefined;
      this.#candidates = answer.tasks.flatMap((task) => {
        const waitsFor = waitOf(task.inKernel);
        return waitsFor ? { task, waitsFor } : [];
      });
    }
    this.#sorted ??= this.#sortedNow();
    return this.#sorted;
  }

  #sortedNow(): Sorted {
    const known = new Map<TrackedObject, Known[]>();
    const unknown: Candidate[] = [];
    for (const candidate of this.#candidates) {
      const [object, callBegan] = this.#stalledCallOf(candidate.task.tid) ?? [];
      if (object === undefined || callBegan === undefined) unknown.push(candidate);
      else known.set(object, [...(known.get(object) ?? []), { candidate, callBegan }]);
    }
    return {
      known,
      forDeviceLock: unknown.filter(({ waitsFor }) => waitsFor === 'device lock'),
      insideVfio: unknown.filter(({ waitsFor }) => waitsFor === 'VFIO'),
    };
  }

  /** The call of a thread about an object about which an older one is stalled. */
  #stalledCallOf(tid: number): readonly [object: TrackedObject, began: number] | undefined {
    return [...this.#callsOf(tid)].find(([object, began]) => {
      const oldest = this.#oldest.get(object);
      return oldest !== undefined && oldest < began;
    });
  }

  /** When a thread began the call about an object that it is in; undefined where that is not known. */
  #beganOf(tid: number, subject: TrackedObject | undefined): number | undefined {
    return subject && this.#callsOf(tid).get(subject);
  }

  /** The objects that the calls of a thread are about, and when the outermost about each began. */
  #callsOf(tid: number): ReadonlyMap<TrackedObject, number> {
    const { calls, losses } = this.#world;
    const objects = new Map<TrackedObject, number>();
    for (const call of calls.inFlight(tid)) {
      const object = subjectOf(objectsOf(call));
      // After a loss, the event of its return may be missing.
      if (object && call.losses === losses && !objects.has(object)) objects.set(object, call.began);
    }
    return objects;
  }

  #waiter(candidate: Candidate, how: Waiter['how'], callBegan = 0): Waiter {
    const { pid, tid, comm, uid, inKernel } = candidate.task;
    const task = { pid, tid, comm, uid, cgroup: 0 };
    candidate.party ??= { task, group: this.#host.controlGroup?.(task) };
    return { ...candidate.party, how, callBegan, inKernel };
  }
}
