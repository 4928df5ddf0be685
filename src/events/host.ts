/** Questions about the host that events do not answer: the port, and the types of its answers. */
import type { Task } from './task.ts';
import type { Traits } from './traits.ts';

/** The control group of a process, in the words of those who run the host. */
export interface ControlGroup {
  /** Below the root of its hierarchy. */
  readonly path: string;
  /** The systemd unit, decoded. */
  readonly unit?: string;
  /** Id or name of the container. */
  readonly container?: string;
  /** UID of the Kubernetes pod. */
  readonly pod?: string;
  /** Name of the guest, as far as libvirt has it in the name of the VM's scope. */
  readonly guest?: string;
}

/** The process that created a VM; for a VM that was adopted, a process or thread that probably did. */
export interface VmCreator {
  /** Of a process; or of a thread where {@link task} is unknown. */
  readonly pid: number;
  /** Undefined where only the id is known: then the process must have a file of a VM. */
  readonly task: Task | undefined;
  /** When the process had the id, ns on the boot-time clock: another one may have it by now. */
  readonly at: number;
}

/**
 * What is known of the command line of a VM's creator. pending: it is being read. read: it was read, whether
 * it has a name or not. exited: the process had ended before. not_visible: /proc does not show it. no_answer:
 * the kernel did not answer in time, or too many VMs appeared at once. disabled: by the settings.
 */
export type CommandLineState =
  | 'pending'
  | 'read'
  | 'exited'
  | 'not_visible'
  | 'no_answer'
  | 'disabled';

/** How the operator knows a VM. */
export interface VmIdentity {
  /** The guest's name: of the command line, else of the scope. */
  readonly name?: string;
  /** The guest's UUID, in small letters. */
  readonly uuid?: string;
  /** The control group of its creator. */
  readonly group?: ControlGroup;
  readonly commandLine: CommandLineState;
}

/** What a task waits for inside the kernel. */
export interface BlockedTask {
  /** As /proc shows it: "D (disk sleep)". */
  readonly state: string;
  /** The kernel function that it sleeps in. */
  readonly wchan?: string;
  /** Kernel functions, innermost first; left out where it must not be read. */
  readonly stack?: readonly string[];
}

/** A thread of the host in state D, which no signal wakes. */
export interface WaitingTask {
  readonly pid: number;
  readonly tid: number;
  /** The name of the thread. */
  readonly comm: string;
  /** -1 when it could not be read. */
  readonly uid: number;
  readonly inKernel: BlockedTask;
}

/**
 * Why threads may be missing. hidden: /proc does not show those of other users. unreadable: some could
 * not be read. truncated: there are more than are looked at.
 */
export type MissingTasks = 'hidden' | 'unreadable' | 'truncated';

/** The threads of the host in state D; nobody knows since when they wait. */
export interface WaitingTasks {
  readonly tasks: readonly WaitingTask[];
  /** Empty when these are all of them. */
  readonly missing: readonly MissingTasks[];
}

/** A device's file that the group returned, or that is a cdev; open in a process. */
export interface OwnedFile {
  readonly fd: number;
  /** Undefined on kernels that do not show of which device it is. */
  readonly device?: string;
}

/** An open file of a group: /dev/vfio/N or /dev/vfio/noiommu-N, whatever its name is there. */
export interface OwnedGroup {
  readonly fd: number;
  /** The number of the IOMMU group. */
  readonly group: number;
}

/** An open device cdev, /dev/vfio/devices/vfioN: it holds its device whether it is bound or not. */
export interface OwnedCdev {
  readonly fd: number;
  /** The node's name, "vfio0". */
  readonly cdev: string;
  /** Undefined while the device is being removed, when sysfs no longer shows it. */
  readonly device?: string;
}

/** A device's memory that a process has mapped; the mapping keeps the file open without a descriptor. */
export interface MappedDevice {
  /** Undefined where the kernel does not show of which device it is: known of cdevs only. */
  readonly device?: string;
}

/** A process that has files of VMs, devices or groups: descriptors, or only mappings of them. */
export interface FileOwner {
  readonly pid: number;
  readonly comm: string;
  /** -1 when it could not be read. */
  readonly uid: number;
  /** When it was started, ns on the boot-time clock, at most 10 ms too early; 0 when it could not be read. */
  readonly startedAt: number;
  /** Whether it has any file of KVM; no kernel shows of which VM it is. */
  readonly kvmFiles: boolean;
  readonly deviceFiles: readonly OwnedFile[];
  readonly groupFiles: readonly OwnedGroup[];
  readonly cdevFiles: readonly OwnedCdev[];
  readonly mappedDevices: readonly MappedDevice[];
}

/** A PCI function, as sysfs shows it; what is not known is empty. */
export interface PciFunction {
  /** "0x10de" */
  readonly vendor: string;
  /** "0x2236" */
  readonly device: string;
  /** The address of the physical function; empty unless the function is a virtual one. */
  readonly physicalFunction: string;
  /** -1 where the machine does not say. */
  readonly numaNode: number;
  /**
   * As NVIDIA's tools and exporters write an address: "00000000:3B:00.0". That of the physical function if it
   * has one, because they know no virtual functions.
   */
  readonly busId: string;
}

/** A device of an IOMMU group, as sysfs shows it. */
export interface GroupMember {
  readonly name: string;
  /** Undefined when it is bound to none. */
  readonly driver: string | undefined;
}

/** A line of the kernel's log. */
export interface KernelLogLine {
  /** In seconds, as dmesg shows it; the kernel's own clock, which no other clock agrees with exactly. */
  readonly time: string;
  readonly text: string;
  /** The devices that it names, by bus address or UUID. */
  readonly names: readonly string[];
  /** It was logged between these, ns on the boot-time clock. */
  readonly after: number;
  readonly before: number;
}

export interface Host {
  /** What its kernel does; a trait that is not known is undefined. They change when modules are loaded. */
  readonly traits: Traits;
  /**
   * The processes that hold any KVM file (VM, vcpu, device, statistics) or open
   * per-VM debugfs file. Undefined where that cannot be known, as in a replay, and as fileOwners is.
   * @param notBefore the answer must not be older than this, ns on the boot-time clock
   */
  pidsWithKvmFiles(notBefore: number): ReadonlySet<number> | undefined;
  /**
   * How many more mdevs of each type a parent offers, from sysfs. Undefined while its driver has
   * not answered, when it is gone, and where that cannot be known, as in a replay.
   * @param notBefore the answer must not be older than this, ns on the boot-time clock
   */
  availableInstances?(parent: string, notBefore: number): ReadonlyMap<string, number> | undefined;
  /** The control group of a task when it was observed; undefined where it is no longer known, as in a replay. */
  controlGroup?(task: Task): ControlGroup | undefined;
  /**
   * How the operator knows a VM. Reads the command line of its creator beside the event loop, so ask once for
   * each VM. Left out where that cannot be known, as in a replay.
   */
  identifyVm?(creator: VmCreator): Promise<VmIdentity>;
  /**
   * What a task waits for; undefined when it is gone, as in a replay. Its stack is there only if it has slept
   * on since an earlier call.
   */
  blockedTask?(task: Task): BlockedTask | undefined;
  /**
   * Whether a process exits and may still be closing its files, which takes as long as its devices
   * and the machine need. Undefined where that cannot be known, as in a replay.
   */
  isExiting?(pid: number): boolean | undefined;
  /**
   * How many bytes of its memory a process may lock (RLIMIT_MEMLOCK), Infinity if it has no limit.
   * Undefined when it is gone, and where that cannot be known, as in a replay.
   */
  lockedMemoryLimit?(pid: number): number | undefined;
  /**
   * Whether a process has the file of a device at a descriptor; undefined where that cannot be read.
   * Before 6.13 the kernel does not show of which device a file is, and that of any counts.
   */
  hasDeviceFile?(pid: number, fd: number, device: string): boolean | undefined;
  /**
   * Whether the process that had an id at some time has not ended since; another one may have the id
   * by now. Undefined where that cannot be known, as in a replay.
   * @param at ns on the boot-time clock
   */
  isAlive?(pid: number, at: number): boolean | undefined;
  /**
   * The name that a process has now, which exec changes. Undefined when it is gone, and where that cannot be
   * known, as in a replay.
   */
  processName?(pid: number): string | undefined;
  /**
   * What the first thread of a process waits for that no signal wakes; undefined when there is none,
   * and where that cannot be known, as in a replay.
   */
  stuckThread?(pid: number): BlockedTask | undefined;
  /**
   * The processes that have files of VMs, devices or groups. They are read beside the event loop:
   * undefined until an answer of that age is there, so ask again at the next tick; and undefined
   * where it cannot be known, as in a replay.
   * @param notBefore the answer must not be older than this, ns on the boot-time clock
   */
  fileOwners?(notBefore: number): readonly FileOwner[] | undefined;
  /**
   * The threads that sleep in the kernel where no signal wakes them, of all processes. They are read
   * beside the event loop, as fileOwners are; undefined where it cannot be known, as in a replay.
   * @param notBefore the answer must not be older than this, ns on the boot-time clock
   */
  waitingTasks?(notBefore: number): WaitingTasks | undefined;
  /**
   * What sysfs shows of a PCI function. Undefined for a device that is none, when it is gone, and where that
   * cannot be known, as in a replay.
   */
  pciFunction?(device: string): PciFunction | undefined;
  /** The devices of an IOMMU group with their drivers. Undefined where that cannot be known, as in a replay. */
  groupMembers?(group: number): readonly GroupMember[] | undefined;
  /**
   * Whether a device is in an IOMMU group. Undefined where that cannot be known, as in a replay.
   * @param bus its name, such as "pci"
   */
  hasIommuGroup?(bus: string, device: string): boolean | undefined;
  /**
   * The latest lines of the kernel's log about mdev, VFIO, IOMMU, KVM and devices, in no certain order.
   * Undefined where it must not be read, and in a replay.
   */
  kernelLog?(): readonly KernelLogLine[] | undefined;
}
