/** A violation: one rule broken by one object or for one cause, however often or long. */

import type { BlockedTask, ControlGroup, MissingTasks } from '../events/host.ts';
import type { Task } from '../events/task.ts';
import type { TimelineEntry } from '../lifecycle/timeline.ts';
import type { Quality } from '../lifecycle/tracked-object.ts';
import type { Severity } from './severity.ts';

export interface Violation extends Occurrence, Attribution {
  /** Never used by another run of the agent; a replay of the same recording gives the same. */
  readonly id: string;
  readonly rule: string;
  readonly title: string;
  severity: Severity;
  /** ns on the boot-time clock. */
  readonly firstSeen: number;
  lastSeen: number;
  /** How often a one-shot violation occurred; 1 for an ongoing one. */
  count: number;
  /** Who caused the occurrences. */
  processes: Processes;
  /** The names of the devices concerned, of the first 100 if there are more. */
  devices: readonly string[];
  /** It is ongoing until it is resolved; else it is a one-shot violation. */
  readonly ongoing: boolean;
  /** When it ended, 0 while it is ongoing and for a one-shot violation. */
  resolvedAt: number;
}

/** What is said of the latest occurrence. */
export interface Occurrence {
  /** Serial number of the device's incarnation: another device may have had the same name. */
  incarnation: number | undefined;
  /** The id of the trace of the device's lifecycle, or of the VM's where it is about no device. */
  trace: string | undefined;
  /** When that lifecycle began, as far as that was observed, ns on the boot-time clock; 0 where it is about neither. */
  traceBegan: number;
  /** The device's UUID or bus address. */
  device: string | undefined;
  parent: string | undefined;
  type: string | undefined;
  vm: VmReference | undefined;
  /** Who made the call that caused the violation, or who is blocked by it. */
  process: Party | undefined;
  quality: Quality;
  message: string;
  /** What is known of the whole of it since it has ended, such as how long it took; where the rule says so. */
  conclusion?: string;
  /**
   * Lines of the kernel's log that were logged near it and may explain it, as dmesg prints them. Undefined
   * where the log cannot be read.
   */
  kernelLog: readonly string[] | undefined;
  /** The events that prove it, in order. */
  evidence: readonly TimelineEntry[];
}

/** The processes of all occurrences. */
export interface Processes {
  /** The first ones, by pid. */
  readonly listed: readonly (Party & { readonly occurrences: number })[];
  /** Occurrences by processes that are not listed, or not known. */
  readonly otherOccurrences: number;
}

/** As of when it was raised, or, while it is ongoing, of some seconds ago at most. */
export interface Attribution {
  /** Who holds the files that it depends on. */
  holders: readonly Holder[];
  /** Who waits because of it. */
  blocked: Blocked | undefined;
  /**
   * Who waits behind the blocked task. Undefined for a violation without one, until all tasks have been
   * read, and where they cannot be.
   */
  waiters: Waiters | undefined;
  /** Of the device. */
  creator: Party | undefined;
  /** Of the device, whose creation failed: nobody created it. */
  requester: Party | undefined;
  /** Of the device, or of the parent. */
  remover: Party | undefined;
}

/** A task, and its control group as far as the host knows it. */
export interface Party {
  readonly task: Task;
  readonly group: ControlGroup | undefined;
}

export interface Holder extends Party {
  /**
   * A device's file, its memory by a mapping alone, its cdev, its group's file, the VM's own file, or
   * some file of KVM.
   */
  readonly holds: 'device' | 'mapping' | 'cdev' | 'group' | 'vm' | 'kvm';
  /**
   * opening: its call that opens the file has not returned. opened: its open was observed. holds: and it still has the file. closing: it is in the call that
   * closes the file. exiting: it exits, and closes its files in the course of that. gone: it has
   * ended, and the file is still open. passed on: it no longer has the file, and another process is
   * known to have it. closed: it no longer has the file at that descriptor, which is still open
   * somewhere. may hold: it has such a file, and it is not known of which object.
   */
  readonly how:
    | 'opening'
    | 'opened'
    | 'holds'
    | 'closing'
    | 'exiting'
    | 'gone'
    | 'passed on'
    | 'closed'
    | 'may hold';
  readonly device: string | undefined;
  /** Descriptor, -1 when it is not known, or when there is none. */
  readonly fd: number;
  /** The VM for which it was opened. */
  readonly vm: VmReference | undefined;
  /** ns on the boot-time clock, 0 when its open was not observed. */
  readonly since: number;
  /** What a thread of it waits for in the kernel, where that cannot be interrupted. */
  readonly inKernel?: BlockedTask;
}

/** A task that waits in the kernel. */
export interface Blocked extends Party {
  readonly inKernel: BlockedTask | undefined;
}

/** A task in state D that waits behind a call that does not return. */
export interface Waiter extends Party {
  /**
   * waits: its own call about the same object was observed to begin later. probably waits: inferred from
   * its stack, which waits for the lock of a device, while one call alone is stalled, with such a lock held.
   * may wait: inferred from its stack alone.
   */
  readonly how: 'waits' | 'probably waits' | 'may wait';
  /** When its observed call began, ns on the boot-time clock; else 0, since no kernel shows how long a task waits. */
  readonly callBegan: number;
  readonly inKernel: BlockedTask;
}

export interface Waiters {
  /** How many wait, probably wait and may wait. */
  readonly sure: number;
  readonly probable: number;
  readonly possible: number;
  /** The first ones, in this order. */
  readonly listed: readonly Waiter[];
  /** Why there may be more; empty when these are all of the host. */
  readonly missing: readonly MissingTasks[];
}

export interface VmReference {
  readonly id: string;
  readonly pid: number | undefined;
  readonly comm: string | undefined;
  /** Name and UUID of the guest, as far as they were known when this was said. */
  readonly name: string | undefined;
  readonly uuid: string | undefined;
}
