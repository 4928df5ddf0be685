/** What a rule is: one file each, from which docs, alerts and tests derive. */
import type { Moment } from '../lifecycle/moment.ts';
import type { Device, Parent, Task, Vm } from '../lifecycle/objects.ts';
import type { MomentName, PointName } from '../lifecycle/points.ts';
import type { World } from '../lifecycle/world.ts';
import type { Story } from './story.ts';

/** critical: the kernel may crash or corrupt memory. error: something is stuck or lost. */
export type Severity = 'info' | 'warning' | 'error' | 'critical';

/** [major, minor] of Linux. */
export type KernelVersion = readonly [number, number];

/** Times after which waiting becomes a finding, ns. Users set them in seconds. */
export interface Thresholds {
  /** A remover that waits for its users. */
  readonly removeStall: number;
  /** A parent that is being withdrawn. */
  readonly parentUnregisterStall: number;
  /** A device whose driver asked its users to let go, and that is still open. */
  readonly requestIgnored: number;
  /** A vfio_device that its driver made and neither registered nor freed. */
  readonly neverRegistered: number;
  /** A create that took that long while others waited beside it. */
  readonly createSerialised: number;
  /** A VM without a file descriptor that an open device keeps alive. */
  readonly vmPinned: number;
  /** A VM without a file descriptor that nothing visible keeps alive. */
  readonly kvmRefLeak: number;
  /** How long a state may take to settle before it counts. */
  readonly grace: number;
}

export const SECOND = 1e9;

export const DEFAULT_THRESHOLDS: Thresholds = {
  removeStall: 10 * SECOND,
  parentUnregisterStall: 5 * SECOND,
  requestIgnored: 30 * SECOND,
  neverRegistered: 5 * SECOND,
  createSerialised: 1 * SECOND,
  vmPinned: 10 * SECOND,
  kvmRefLeak: 5 * SECOND,
  grace: 2 * SECOND,
};

/** What is known of drivers beyond what the kernel says of all: by their names, as users may set them. */
export interface DriverKnowledge {
  /** That refuse, or fail later, when they are opened without a VM. */
  readonly needKvm: ReadonlySet<string>;
  /** That allow one VM only one of their devices. */
  readonly oneDevicePerVm: ReadonlySet<string>;
}

export const DEFAULT_DRIVERS: DriverKnowledge = {
  needKvm: new Set(['intel_vgpu_mdev', 'i915', 'vfio_ap_mdev', 'vfio_ap']),
  oneDevicePerVm: new Set(['intel_vgpu_mdev', 'i915', 'vfio_ap_mdev', 'vfio_ap']),
};

/** Where a process belongs to, for those who run the host. */
export interface ControlGroup {
  /** Below the root of its hierarchy. */
  readonly path: string;
  /** The systemd unit, decoded. */
  readonly unit?: string;
  /** Id or name of the container. */
  readonly container?: string;
}

/** What a task waits for inside the kernel. */
export interface BlockedTask {
  /** As /proc has it: "D (disk sleep)". */
  readonly state: string;
  /** The kernel function that it sleeps in. */
  readonly wchan?: string;
  /** Kernel functions, innermost first; left out where it must not be read. */
  readonly stack?: readonly string[];
}

/** An open device file; newer kernels tell of which device. */
export interface OwnedFile {
  readonly fd: number;
  readonly device?: string;
}

/** A process that has files of VMs or devices in its table. */
export interface FileOwner {
  readonly pid: number;
  readonly comm: string;
  /** -1 when it could not be read. */
  readonly uid: number;
  /** Whether it has any file of KVM; which VM it is of, nothing tells. */
  readonly kvmFiles: boolean;
  readonly deviceFiles: readonly OwnedFile[];
}

/** What a rule may ask about the host beyond the events. */
export interface Host {
  readonly kernel: KernelVersion;
  /**
   * The processes that hold any KVM file (VM, vcpu, device, statistics) or open
   * per-VM debugfs file. Undefined where that cannot be known, as in a replay.
   * @param notBefore the answer must not be older than this, ns on the boot-time clock
   */
  pidsWithKvmFiles(notBefore: number): ReadonlySet<number> | undefined;
  /**
   * How many more mdevs of each type a parent offers, from sysfs. Undefined while its driver has
   * not answered, when it is gone, and where that cannot be known, as in a replay.
   * @param notBefore the answer must not be older than this, ns on the boot-time clock
   */
  availableInstances?(parent: string, notBefore: number): ReadonlyMap<string, number> | undefined;
  /** Where a task belonged when it was seen; undefined where that is not known any more, as in a replay. */
  controlGroup?(task: Task): ControlGroup | undefined;
  /** What a task waits for; undefined when it is gone, as in a replay. */
  blockedTask?(task: Task): BlockedTask | undefined;
  /** Whether a process has a device file at a descriptor; undefined where that is not to be seen. */
  hasDeviceFile?(pid: number, fd: number): boolean | undefined;
  /**
   * Who has files of VMs and devices. Undefined where that cannot be known, as in a replay.
   * @param notBefore the answer must not be older than this, ns on the boot-time clock
   */
  fileOwners?(notBefore: number): readonly FileOwner[] | undefined;
}

/** Kernels on which something can happen. */
export interface Kernels {
  readonly from?: KernelVersion;
  readonly before?: KernelVersion;
  /** Why not on the others. */
  readonly because: string;
}

/** How a real kernel is made to break the rule, as the lab does it. */
export interface Provocation {
  /**
   * user: by system calls alone. driver: by a vendor driver with a fault, test/kmod. nothing: no
   * kernel can be made to do it, or not without crashing, so only sequences of events show it.
   */
  readonly by: 'user' | 'driver' | 'nothing';
  /** What is done; or why it cannot be. */
  readonly how: string;
}

/** What a rule says when it finds something; without an object, it is about the host as a whole. */
export interface Finding {
  readonly device?: Device | undefined;
  readonly vm?: Vm | undefined;
  readonly parent?: Parent | undefined;
  /** Devices that it is not about, but whose events belong to the evidence. */
  readonly others?: readonly Device[];
  readonly task?: Task | undefined;
  /** Who waits in the kernel because of it: its state and stack are kept with the finding. */
  readonly blocked?: Task | undefined;
  /** Where it differs from the rule's own. */
  readonly severity?: Severity;
  /** It is a condition that lasts until resolved, not an act that may be repeated. */
  readonly lasting?: boolean;
  /**
   * It would not be so if a file had been closed by now. During a look at the host, which may put
   * off a close, it waits for the end of that, and is not raised if it was so.
   */
  readonly stillOpen?: true | undefined;
  /** What happened this time, in a sentence or two for a person. */
  readonly says: string;
}

export interface RuleContext {
  readonly world: World;
  readonly host: Host;
  readonly thresholds: Thresholds;
  readonly drivers: DriverKnowledge;
  /** ns on the boot-time clock. */
  readonly now: number;
  /** Raises a violation, or counts one more of the same about the same object. */
  report(finding: Finding): void;
  /** The condition about this object, or about the host as a whole, no longer holds. */
  resolve(about?: Device | Vm | Parent): void;
}

export interface Rule {
  readonly id: string;
  readonly title: string;
  readonly severity: Severity;
  /** When a finding is of another severity: by kernel, driver or time, in words. */
  readonly severityVaries?: string;
  /** What is wrong and why it matters, for someone who is paged. */
  readonly meaning: string;
  /** What to do. */
  readonly advice: string;
  /** Where the rule comes from: a thread or kernel source. */
  readonly origin: string;
  /** What is kept with a finding beside the events of the objects concerned, in words. */
  readonly evidence: string;
  /** Where it can happen; everywhere when left out. */
  readonly kernels?: Kernels;
  readonly provocation: Provocation;
  /**
   * event: what the rule sees is in the events at hand, so it holds for any
   * object. state: it follows from the state that the object is in, so the rule is
   * silent while events about it are missing and no look has put it right. history: it
   * follows from what came before, so the rule is silent about objects whose life was
   * not seen whole.
   */
  readonly basis: 'event' | 'state' | 'history';
  /** Points that the condition relies on beyond those it listens to. */
  readonly needs?: readonly PointName[];
  /**
   * Points that must be steps which the kernel takes itself: where it has no such step and
   * another point tells it, the condition does not exist.
   */
  readonly needsStep?: readonly PointName[];
  readonly on?: Partial<Record<MomentName, (moment: Moment, context: RuleContext) => void>>;
  /** Called about once a second, for what is wrong because time passes. */
  readonly onClock?: (context: RuleContext) => void;
  readonly examples: {
    readonly fires: readonly Example[];
    /** Near misses: legal orders that look alike. */
    readonly silent: readonly Example[];
  };
}

export interface Example {
  readonly title: string;
  readonly tell: (story: Story) => void;
  /** Ids of other rules that are right to speak about it. */
  readonly also?: readonly string[];
}

/** Whether what the rule looks for can happen on a kernel. */
export function isPossible(
  { kernels }: Pick<Rule, 'kernels'>,
  [major, minor]: KernelVersion,
): boolean {
  const isBefore = ([a, b]: KernelVersion) => major < a || (major === a && minor < b);
  if (kernels?.from && isBefore(kernels.from)) return false;
  return !kernels?.before || isBefore(kernels.before);
}

/** All points without which a rule cannot tell right from wrong. */
export function pointsNeeded(rule: Rule): PointName[] {
  const points = Object.keys(rule.on ?? {}).map(
    (moment) => moment.slice(0, moment.lastIndexOf(':')) as PointName,
  );
  return [...new Set([...points, ...(rule.needs ?? []), ...(rule.needsStep ?? [])])];
}
