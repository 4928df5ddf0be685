/**
 * The kinds of tracked object that refer to each other (parent, device, open, cdev, VM), and groups, as plain
 * state. Times are ns on the boot-time clock; 0 means that it has not happened or was not observed.
 */
import type { PciFunction, VmIdentity } from '../events/host.ts';
import type { Task } from '../events/task.ts';
import type { IommufdContext } from './iommufd-context.ts';
import { NONE } from './related.ts';
import type {
  CdevState,
  DeviceState,
  KnownBy,
  OpenState,
  ParentState,
  VfioState,
  VmState,
} from './states.ts';
import { Timeline } from './timeline.ts';
import { TrackedObject } from './tracked-object.ts';

export class Parent extends TrackedObject {
  readonly timeline = new Timeline();
  driver = '';
  state: ParentState = 'registered';
  registeredAt = 0;
  unregisterBegan = 0;
  /** If that is not its begin, it began some time before {@link unregisterBegan}, and no event will end it. */
  unregisterKnownBy: KnownBy = 'begin';
  /** The number of the host snapshot that last found a thread that unregisters it, 0 for none. */
  removerFoundBy = 0;
  /** The task that unregisters it. */
  remover: Task | undefined;
  /** When its unregistration began to remove its first device; from then on no create succeeds. */
  teardownBegan = 0;
  unregisteredAt = 0;
  readonly devices = new Set<Device>();
  /** As {@link Device.ownFunction}, of the parent. */
  ownFunction: PciFunction | 'none' | undefined;

  get isOver(): boolean {
    return this.state === 'gone';
  }

  override endUnobserved(): void {
    this.state = 'gone';
  }

  override isReplacedBy(_namesake: Parent): boolean {
    return this.isKeyUnsure;
  }
}

export class Device extends TrackedObject {
  readonly timeline = new Timeline();
  /** "mdev", where the name of a device is its UUID, or a bus such as "pci", where it is the address. */
  bus = '';
  type = '';
  driver = '';
  parentName = '';
  parent: Parent | undefined;
  /** The inode number of an mdev's sysfs directory, unique within one boot; 0 while it is unknown. */
  inode = 0;
  state: DeviceState = 'bound';

  createBegan = 0;
  createdAt = 0;
  /** The errno with which the create failed, 0 if it did not. */
  createError = 0;
  createFailedAt = 0;
  creator: Task | undefined;
  /** The live device that already had this UUID when this create began. */
  holder: Device | undefined;

  probeBegan = 0;
  /** The errno with which the latest probe of its driver failed, 0 if it did not. */
  probeError = 0;
  unbindBegan = 0;
  /** How often it was unbound from its driver since the latest probe. */
  unbinds = 0;
  unboundAt = 0;

  vdevLow = 0;
  vdevHigh = 0;
  vfio: VfioState = 'none';
  initialisedAt = 0;
  /** The errno with which its vfio_device could not be initialised, 0 if it could. */
  initError = 0;
  /** The errno with which VFIO last refused to register it, 0 if it did not. */
  registerError = 0;
  /** When its vfio_device was freed. */
  vdevReleasedAt = 0;
  /** Whether its driver has a request callback, by which it asks users to release the device. */
  asksUsers = false;
  registeredAt = 0;
  unregisterBegan = 0;
  unregisteredAt = 0;
  groupId = -1;

  removeBegan = 0;
  /** If that is not its begin, it began some time before {@link removeBegan}. */
  removeKnownBy: KnownBy = 'begin';
  removedAt = 0;
  remover: Task | undefined;
  /** The errno of the latest removal that failed, and when it failed. */
  removeError = 0;
  removeFailedAt = 0;
  /** Its state when its removal began. */
  stateAtRemove: DeviceState = 'bound';
  releasedAt = 0;

  /** open_count as last sampled from the kernel, and when. */
  openCount = 0;
  countedAt = 0;
  opens: readonly Open[] = NONE;
  opensTotal = 0;
  /** Its device cdevs that are open. While one is bound, it is among the opens as well. */
  cdevs: readonly Cdev[] = NONE;
  vm: Vm | undefined;
  /** When an event last showed which VM it holds a reference on. */
  heldAt = 0;
  /** The VM of its group at the begin of its latest kvm_capture, whether the capture succeeded or not. */
  vmOffered: Vm | undefined;
  /** The latest open that found the device unused, as far as its begin was observed. */
  firstOpen: Open | undefined;
  /**
   * References on VMs that were taken since {@link firstOpen} within calls that open or close the
   * device, minus those that were put there: what its driver took and did not put.
   */
  driverRefs = 0;
  /**
   * The PCI function that it is; 'none' for a device that is none, or of which nothing is known. That is not
   * from events: the host is asked once when the device appears. Undefined before that, and in a replay.
   */
  ownFunction: PciFunction | 'none' | undefined;
  /** Whether `vm` is that of its group, because this kernel does not show what the device itself holds. */
  vmOfGroup = false;

  override get began(): number {
    return this.createBegan || this.firstSeen;
  }

  /** Whether it is an mdev, which is created and removed by itself, or a device assigned as a whole. */
  get isMdev(): boolean {
    return this.bus === 'mdev';
  }

  /** The PCI function that it is, or that its parent is; undefined where that is not known. */
  get pci(): PciFunction | undefined {
    const own = this.isMdev ? this.parent?.ownFunction : this.ownFunction;
    return own === 'none' ? undefined : own;
  }

  /** Whether all is done to remove it, and only a reference that something holds keeps it from being freed. */
  get isUnfreed(): boolean {
    return this.state === 'removing' && (this.removedAt > 0 || this.createFailedAt > 0);
  }

  /** Whether its vfio_device was initialised and not freed; false on kernels that show neither. */
  get hasVdev(): boolean {
    return this.initialisedAt > 0 && this.vdevReleasedAt === 0;
  }

  /** Whether a file of it is open. Opens that have not succeeded and closes in flight do not count. */
  get isOpen(): boolean {
    return this.opens.some(({ state }) => state === 'open');
  }

  /** Whether its unregistration waits for users that have it open. */
  get isWaiting(): boolean {
    return this.unregisterBegan > 0 && this.unregisteredAt === 0 && this.openCount > 0;
  }

  /**
   * Whether it is being created by a call whose end may not be observed: its begin was missed, or events
   * were lost.
   */
  get isCreationUnobserved(): boolean {
    return this.state === 'creating' && (this.adopted || this.createBegan === 0);
  }

  get isOver(): boolean {
    return this.state === 'released' || this.state === 'failed';
  }

  /**
   * Once it has a key and is being removed, events with another key are about a successor of the same name.
   */
  override get isKeyUnsure(): boolean {
    const hasKey = this.keyLow !== 0 || this.keyHigh !== 0;
    return super.isKeyUnsure && !(hasKey && this.state === 'removing');
  }

  override endUnobserved(): void {
    this.state = 'released';
  }

  /**
   * A bus has at most one device of a name, so a new one means that this one has ended. An exception is
   * a device that is freed while its create has not returned: the return of the create ends it.
   */
  override isReplacedBy(namesake: Device): boolean {
    return this.bus === namesake.bus && this.releasedAt === 0;
  }
}

/** An open device file. */
export class Open extends TrackedObject {
  readonly device: Device;
  /** The task that opened it; if it was open before the agent started, a task that has it open. */
  readonly task: Task;
  state: OpenState = 'opening';
  fd = -1;
  vm: Vm | undefined;
  /** When the request for it was made to its group; 0 if that was not observed, or it was opened as a cdev. */
  requestedAt = 0;
  openedAt = 0;
  closeBegan = 0;
  closedAt = 0;
  error = 0;
  /** Whether the process that opened it has another address space than the VM that it was opened for. */
  foreign = false;

  get isOver(): boolean {
    return this.state === 'closed' || this.state === 'failed';
  }

  override get endBegan(): number {
    return this.closeBegan;
  }

  override endUnobserved(): void {
    this.state = 'closed';
  }

  constructor(device: Device, task: Task, firstSeen: number, adopted: boolean, losses: number) {
    super(firstSeen, adopted, losses);
    this.device = device;
    this.task = task;
  }
}

/**
 * An open device cdev, /dev/vfio/devices/vfioN. Descriptors of it are passed on purpose: one process may open
 * it, another may bind it, and a third may hold it.
 */
export class Cdev extends TrackedObject {
  readonly device: Device;
  /** The task that opened it; if it was open before the agent started, a task that has it open. */
  readonly opener: Task;
  /** Its name in /dev/vfio/devices, such as "vfio0"; empty if that was not observed. */
  node = '';
  state: CdevState = 'opening';
  /** A descriptor of it in the process of {@link opener}, if a host snapshot has found one, else -1. */
  fd = -1;
  openedAt = 0;
  /** The errno with which its open failed, 0 if it did not. */
  error = 0;
  /** The task that bound it; undefined also where that was not observed. */
  binder: Task | undefined;
  boundAt = 0;
  /** The context that it is bound to, or was until its close began; undefined also where that was not observed. */
  iommufd: IommufdContext | undefined;
  /** The errno of the latest bind that failed. */
  bindError = 0;
  attachedAt = 0;
  /** The errno of the latest attach that failed. */
  attachError = 0;
  /** The VM that kvm-vfio has set for it, which its device captures when it is bound. */
  vm: Vm | undefined;
  /** When its VM was last set or cleared; 0 if that was not observed. */
  vmSetAt = 0;
  closeBegan = 0;
  closedAt = 0;

  get isOver(): boolean {
    return this.state === 'closed' || this.state === 'failed';
  }

  /** Whether the device is open by it. */
  get isBound(): boolean {
    return this.state === 'bound' || this.state === 'attached';
  }

  override get endBegan(): number {
    return this.closeBegan;
  }

  override endUnobserved(): void {
    this.state = 'closed';
  }

  constructor(device: Device, opener: Task, firstSeen: number, adopted: boolean, losses: number) {
    super(firstSeen, adopted, losses);
    this.device = device;
    this.opener = opener;
  }
}

export class Vm extends TrackedObject {
  readonly timeline = new Timeline();
  /** The task that created it; for an adopted VM, only the thread id may be known. */
  task: Task | undefined;
  creatorTid = 0;
  fd = -1;
  state: VmState = 'running';
  createdAt = 0;
  fdClosedAt = 0;
  /** Whether that is when a host snapshot found it closed, which was some time before. */
  isCloseInferred = false;
  destroyBegan = 0;
  destroyedAt = 0;
  /** Whether KVM was unloaded while something had a reference on it: then nothing will free it any more. */
  outlivedKvm = false;
  /** users_count after the latest event, -1 while it is unknown. */
  users = -1;
  devices: readonly Device[] = NONE;
  /** The open device in which another VM took its place although its reference was not put: nothing will put it. */
  lostReferenceOf: Device | undefined;
  /**
   * How the operator knows it. That is not from events: the host is asked once when the VM appears, and the
   * answer comes some milliseconds later. Undefined where nobody asks, as in a replay.
   */
  identity: VmIdentity | undefined;

  get isOver(): boolean {
    return this.state === 'destroyed' || this.state === 'failed';
  }

  /** Whether its last reference is put, so that nobody can use it any more, or it never came to be used. */
  get isGone(): boolean {
    return this.state === 'destroying' || this.isOver;
  }

  override get endBegan(): number {
    return this.destroyBegan;
  }

  override endUnobserved(): void {
    this.state = 'destroyed';
  }
}

/** An IOMMU group. VFIO sets the VM of devices through their group. */
export class Group {
  readonly id: number;
  devices: readonly Device[] = NONE;
  vm: Vm | undefined;
  /** When its VM was last set or cleared; 0 while that is unknown. */
  setAt = 0;
  /** `World.losses` when its VM was last set, cleared or confirmed. */
  setLosses = 0;
  /**
   * When its last file descriptor was closed; 0 if it was opened again since, or if that was not observed.
   */
  closedAt = 0;
  /** The task that last opened it, as far as that was observed, or that had it open when a snapshot was taken. */
  opener: Task | undefined;
  /** When {@link opener} opened it; 0 if that was not observed. */
  openedAt = 0;
  /** When {@link opener} opened it, or a snapshot first found that it had it open. */
  userSince = 0;
  /** How many device files were requested from it since then. */
  requests = 0;

  /** The task that opened it, while it is open. */
  get user(): Task | undefined {
    return this.closedAt === 0 ? this.opener : undefined;
  }

  constructor(id: number) {
    this.id = id;
  }
}

/** Who created a device, or only requested it, if its creation failed. */
export function creatorOf({ state, creator }: Device): {
  readonly creator?: Task | undefined;
  readonly requester?: Task | undefined;
} {
  return state === 'failed' ? { requester: creator } : { creator };
}

/** A request in flight to open a device: VFIO_GROUP_GET_DEVICE_FD, or VFIO_DEVICE_BIND_IOMMUFD of its cdev. */
export interface OpenRequest {
  readonly name: string;
  /** The cdev that is bound; undefined for a request to a group. */
  readonly cdev: Cdev | undefined;
  /** Whether something followed the name, such as a VF token. */
  readonly hasOptions: boolean;
  readonly groupId: number;
  readonly task: Task;
  /** ns on the boot-time clock. */
  readonly began: number;
  open: Open | undefined;
  /** The errno of the device open within the call, 0 if it succeeded or was not reached. */
  openError: number;
  /** The errno that a bind got because the device's group is open, else 0. */
  groupError: number;
  /** Whether a bind has come so far that it keeps the device's group closed. */
  hasBlockedGroup: boolean;
}

/** A process that maps memory for DMA: what it has open, and for which VM. */
export interface Mapper {
  readonly pid: number;
  /** When this was found out, ns on the boot-time clock. */
  readonly since: number;
  /** Devices that it opened and that are open; if there is none, those of the groups that it opened. */
  readonly devices: readonly Device[];
  readonly hasDevices: boolean;
  /**
   * Since when a process of that id has had the first of them, or its VM, ns on the boot-time clock: it is
   * another one if it was started later.
   */
  readonly hadSince: number;
  /** How many of these opens were observed. */
  readonly observed: 'all' | 'some' | 'none';
  readonly vm: Vm | undefined;
}
