/**
 * The calls in flight: calls of probed functions that have begun and not returned. This is the
 * agent's counterpart of the BPF map `calls`.
 *
 * The event of a return does not contain when its call began or which objects it concerns, so both
 * are looked up here. The table also answers which calls are in flight, since when, by which task,
 * and about which objects.
 *
 * The calls of one thread are nested, because they are frames of one kernel stack. When a call
 * returns, all calls that the thread entered after it have returned as well, even if the events of
 * their returns were lost.
 */
import type { EventCursor } from '../events/cursor.ts';
import type { Task } from '../events/task.ts';
import { textOf } from '../events/text.ts';
import { EVENT, POINT } from '../events/wire.gen.ts';
import { KeyTable } from './key-table.ts';
import { Device, type Group, Open, type OpenRequest, Parent, Vm } from './objects.ts';

const TIME = EVENT.time >> 2;
const COMM = EVENT.comm >> 2;
const CGROUP = EVENT.cgroup >> 2;
const UID = EVENT.uid >> 2;
/** From that many threads on, those without a call in flight are forgotten now and then. */
const KEPT_THREADS = 4096;

/** What the begin of a call can identify. */
export interface CallObjects {
  readonly parent: Parent | undefined;
  readonly device: Device | undefined;
  readonly open: Open | undefined;
  readonly vm: Vm | undefined;
  readonly group: Group | undefined;
  readonly request: OpenRequest | undefined;
  /** The name of the kernel module that delete_module() was called for. */
  readonly module: string | undefined;
}

/**
 * A call in flight, or the call that has just ended. The object is used again for a later call, so
 * nothing may keep a reference to it.
 */
export class Call {
  /** A value of `POINT`. */
  point = 0;
  pid = 0;
  tid = 0;
  /**
   * `World.losses` when the call began, or when the host snapshot began that last confirmed the call.
   * If it has increased since, the event of the return may have been lost.
   */
  losses = 0;
  /**
   * The most specific object that the call concerns, as far as its begin or a nested call identified it.
   * The others follow from it: each stored reference from an old object to a young one costs as much as
   * the rest of a begin.
   */
  subject: Open | Device | Vm | Parent | Group | undefined;
  request: OpenRequest | undefined;
  /** The name of the kernel module that delete_module() was called for. */
  module: string | undefined;
  // Words of the record, in 32-bit halves: larger numbers and arrays would be objects of their own, and
  // each of these costs a begin and an end a cache line.
  #timeLow = 0;
  #timeHigh = 0;
  #cgroupLow = 0;
  #cgroupHigh = 0;
  #uid = 0;
  #comm0 = 0;
  #comm1 = 0;
  #comm2 = 0;
  #comm3 = 0;

  /** When the call began, ns on the boot-time clock. */
  get began(): number {
    return (this.#timeLow >>> 0) + this.#timeHigh * 2 ** 32;
  }

  get open(): Open | undefined {
    return this.subject instanceof Open ? this.subject : undefined;
  }

  /** The device, also the one that is opened or closed. */
  get device(): Device | undefined {
    const { subject } = this;
    return subject instanceof Device
      ? subject
      : subject instanceof Open
        ? subject.device
        : undefined;
  }

  get vm(): Vm | undefined {
    return this.subject instanceof Vm ? this.subject : undefined;
  }

  /** The parent, also the one of the device. */
  get parent(): Parent | undefined {
    return this.subject instanceof Parent ? this.subject : this.device?.parent;
  }

  /** The task that made the call. Each access allocates, so this is not for the path of an event. */
  get task(): Task {
    const { pid, tid } = this;
    const words = Int32Array.of(this.#comm0, this.#comm1, this.#comm2, this.#comm3);
    const cgroup = (this.#cgroupLow >>> 0) + this.#cgroupHigh * 2 ** 32;
    return { pid, tid, comm: textOf(words, 0, words.length), cgroup, uid: this.#uid >>> 0 };
  }

  start(event: EventCursor, losses: number): void {
    const { words, word } = event;
    this.point = event.point;
    this.pid = event.pid;
    this.tid = event.tid;
    this.losses = losses;
    this.#timeLow = words[word + TIME];
    this.#timeHigh = words[word + TIME + 1];
    this.#cgroupLow = words[word + CGROUP];
    this.#cgroupHigh = words[word + CGROUP + 1];
    this.#uid = words[word + UID];
    this.#comm0 = words[word + COMM];
    this.#comm1 = words[word + COMM + 1];
    this.#comm2 = words[word + COMM + 2];
    this.#comm3 = words[word + COMM + 3];
  }

  /** Keeps what the begin identified, for the end of the call and for queries until then. */
  setObjects({ parent, device, open, vm, group, request, module }: CallObjects): void {
    this.subject = open ?? device ?? vm ?? parent ?? group;
    if (request) this.request = request;
    if (module !== undefined) this.module = module;
  }

  /** Drops all references, so that an unused frame does not keep objects that ended in memory. */
  clear(): void {
    this.subject = undefined;
    if (this.request) this.request = undefined;
    if (this.module !== undefined) this.module = undefined;
  }
}

/** The stack of calls of one thread, outermost first. Its frames are used again. */
class Thread {
  readonly frames: Call[] = [];
  /** How many frames are in use. */
  depth = 0;

  /** The index of the call at that point; -1 if the thread is in none. */
  indexOf(point: number): number {
    let index = this.depth - 1;
    while (index >= 0 && this.frames[index].point !== point) index--;
    return index;
  }
}

export class Calls implements Iterable<Call> {
  /** The number of calls in flight. */
  size = 0;
  /** Every thread that has made a call; those without one in flight stay for the next. */
  #threads = new KeyTable<Thread>();
  #threadLimit = KEPT_THREADS;
  /** The call that {@link end} returned last, to be cleared when the next call begins or ends. */
  #ended: Call | undefined;

  /** @param losses the current value of `World.losses` */
  begin(event: EventCursor, losses: number): Call {
    this.#clearEnded();
    const { tid } = event;
    const thread = this.#threads.get(tid, 0) ?? this.#addThread(tid);
    // None of the probed functions recurses, so a second begin of a thread at the same point means that
    // the end of the earlier call was lost.
    const stale = thread.indexOf(event.point);
    if (stale >= 0) this.#unwind(thread, stale);
    let call = thread.frames[thread.depth];
    if (call === undefined) {
      call = new Call();
      thread.frames.push(call);
    }
    thread.depth++;
    this.size++;
    call.start(event, losses);
    return call;
  }

  /**
   * @returns the call that ended, valid until the next `begin`, `end` or `sweep`; undefined if the
   *   event of its begin was lost
   */
  end(event: EventCursor): Call | undefined {
    this.#clearEnded();
    const thread = this.#threads.get(event.tid, 0);
    if (!thread) return undefined;
    const index = thread.indexOf(event.point);
    if (index < 0) return undefined;
    // What is nested in it has returned, too.
    if (index + 1 < thread.depth) this.#unwind(thread, index + 1);
    thread.depth = index;
    this.size--;
    this.#ended = thread.frames[index];
    return this.#ended;
  }

  /** The call in flight of that thread at that point. */
  of(tid: number, point: number): Call | undefined {
    const thread = this.#threads.get(tid, 0);
    const index = thread ? thread.indexOf(point) : -1;
    return thread && index >= 0 ? thread.frames[index] : undefined;
  }

  /** The calls in flight of that thread, outermost first. */
  inFlight(tid: number): readonly Call[] {
    const thread = this.#threads.get(tid, 0);
    return thread ? thread.frames.slice(0, thread.depth) : [];
  }

  /** The request to open a device that the thread is in. */
  requestOf(tid: number): OpenRequest | undefined {
    const call = this.of(tid, POINT.VFIO_DEVICE_GET_FD) ?? this.of(tid, POINT.VFIO_CDEV_BIND);
    return call?.request;
  }

  /** All calls in flight, oldest first. */
  [Symbol.iterator](): IterableIterator<Call> {
    return this.#inFlight(() => true).values();
  }

  /** The calls in flight at one point, oldest first. */
  at(point: number): readonly Call[] {
    return this.#inFlight((call) => call.point === point);
  }

  /** Removes the calls that have returned although the events of their returns were lost. */
  sweep(isOver: (call: Call) => boolean): void {
    this.#clearEnded();
    for (const thread of this.#threads.values()) {
      const { frames, depth } = thread;
      let kept = 0;
      for (let i = 0; i < depth; i++) {
        const call = frames[i];
        if (isOver(call)) {
          call.clear();
          continue;
        }
        frames[i] = frames[kept];
        frames[kept++] = call;
      }
      this.size -= depth - kept;
      thread.depth = kept;
    }
  }

  #inFlight(isWanted: (call: Call) => boolean): Call[] {
    if (this.size === 0) return [];
    const calls: Call[] = [];
    for (const { frames, depth } of this.#threads.values()) {
      for (let i = 0; i < depth; i++) if (isWanted(frames[i])) calls.push(frames[i]);
    }
    return calls.sort((a, b) => a.began - b.began);
  }

  #addThread(tid: number): Thread {
    if (this.#threads.size >= this.#threadLimit) this.#forgetIdleThreads();
    const thread = new Thread();
    this.#threads.set(tid, 0, thread);
    return thread;
  }

  /** Threads end without an event, so those without a call are dropped when many have been added. */
  #forgetIdleThreads(): void {
    const busy = new KeyTable<Thread>();
    for (const thread of this.#threads.values()) {
      if (thread.depth > 0) busy.set(thread.frames[0].tid, 0, thread);
    }
    this.#threads = busy;
    this.#threadLimit = Math.max(KEPT_THREADS, busy.size * 2);
  }

  /** Takes the calls of a thread from that index on for returned. */
  #unwind(thread: Thread, index: number): void {
    for (let i = index; i < thread.depth; i++) thread.frames[i].clear();
    this.size -= thread.depth - index;
    thread.depth = index;
  }

  #clearEnded(): void {
    if (!this.#ended) return;
    this.#ended.clear();
    this.#ended = undefined;
  }
}
