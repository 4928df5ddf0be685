/** A violation: one rule broken by one object, however often or long. */
import type { Quality, Task } from '../lifecycle/objects.ts';
import type { TimelineEntry } from '../lifecycle/timeline.ts';
import type { BlockedTask, ControlGroup, Severity } from './rule.ts';

export interface Violation extends Behind {
  /** Never used by another run of the agent; a replay of the same recording gives the same. */
  readonly id: string;
  readonly rule: string;
  readonly title: string;
  severity: Severity;
  /** Serial number of the device's life: its name may be another device's, too. */
  readonly life: number | undefined;
  /** The id of the trace of the device's life, or of the VM's where it is about no device. */
  readonly trace: string | undefined;
  /** The device's UUID or bus address. */
  readonly device: string | undefined;
  readonly parent: string | undefined;
  readonly type: string | undefined;
  readonly vm: VmReference | undefined;
  /** Who made the call that broke the order, or who is blocked by it. */
  readonly process: Party | undefined;
  /** ns on the boot-time clock. */
  readonly firstSeen: number;
  lastSeen: number;
  count: number;
  /** A condition that holds until it is resolved, not a single act. */
  readonly lasting: boolean;
  /** When the condition ended, 0 while it lasts or when it was a single act. */
  resolvedAt: number;
  readonly quality: Quality;
  explanation: string;
  /** The events that prove it, in order. */
  evidence: readonly TimelineEntry[];
}

/** Who is behind it: when it was raised, or while it lasts some seconds ago at most. */
export interface Behind {
  /** Who has what is in the way. */
  holders: readonly Holder[];
  /** Who waits because of it. */
  blocked: Blocked | undefined;
  /** Of the device. */
  creator: Party | undefined;
  /** Of the device, or of the parent. */
  remover: Party | undefined;
}

/** A task, and where it belongs as far as the host could tell. */
export interface Party {
  readonly task: Task;
  readonly group: ControlGroup | undefined;
}

export interface Holder extends Party {
  /** A device file, the VM's own file, or some file of KVM. */
  readonly holds: 'device' | 'vm' | 'kvm';
  /**
   * opened: it was seen to open it. holds: and it still has it. passed on: it has it no more, though
   * it is open. may hold: it has such a file, and nothing tells of which object.
   */
  readonly how: 'opened' | 'holds' | 'passed on' | 'may hold';
  readonly device: string | undefined;
  /** Descriptor, -1 when it is not known. */
  readonly fd: number;
  /** The VM for which it was opened. */
  readonly vm: VmReference | undefined;
  /** ns on the boot-time clock, 0 when it was not seen. */
  readonly since: number;
}

/** A task that waits in the kernel; how, only the host can tell. */
export interface Blocked extends Party {
  readonly inKernel: BlockedTask | undefined;
}

export interface VmReference {
  readonly id: string;
  readonly pid: number | undefined;
  readonly comm: string | undefined;
}
