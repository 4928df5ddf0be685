/**
 * The four kinds of object whose lives are followed, as plain state.
 *
 * An object is one life: when the kernel reuses an address, a new object is made.
 * Times are ns on the boot-time clock; 0 means "not (yet) seen".
 */
import type { EventCursor } from '../events/cursor.ts';
import { Timeline } from './timeline.ts';

/**
 * How much of a life was seen: all of it, only the part since the agent started,
 * or with events lost in between.
 */
export type Quality = 'observed' | 'late' | 'tainted';

export type ParentState = 'registering' | 'registered' | 'unregistering' | 'gone';

/**
 * creating: `create` was written and has not returned. bound: usable, nobody has it open.
 * open: at least one device file. removing: being torn down, perhaps waiting for its users.
 * unbound: on the bus without a driver. released: freed. failed: its creation failed.
 */
export type DeviceState =
  | 'creating'
  | 'bound'
  | 'open'
  | 'removing'
  | 'unbound'
  | 'released'
  | 'failed';

/**
 * What the VFIO core knows of the device. none: nothing yet. initialised: its vfio_device
 * exists. unregistering: withdrawn, perhaps waiting for its users. released: the vfio_device is freed.
 */
export type VfioState =
  | 'none'
  | 'initialised'
  | 'registered'
  | 'unregistering'
  | 'unregistered'
  | 'released';

export type OpenState = 'opening' | 'open' | 'closing' | 'closed' | 'failed';

/** released: its last VM file descriptor is closed, but references keep it alive. */
export type VmState = 'creating' | 'running' | 'released' | 'destroyed' | 'failed';

/** Who made a call. */
export interface Task {
  readonly pid: number;
  readonly tid: number;
  readonly comm: string;
  readonly cgroup: number;
  readonly uid: number;
}

/** Copies the caller out of a record; only where a life begins or changes hands. */
export function taskOf(event: EventCursor): Task {
  const { pid, tid, cgroup, uid } = event;
  return { pid, tid, comm: event.comm(), cgroup, uid };
}

let serials = 0;

/** What all lives have in common. */
export abstract class Life {
  /** Unique within this agent; part of the ids that users see. */
  readonly serial = ++serials;
  /** Part of its life was not seen: it existed before, or events about it were lost. */
  adopted: boolean;
  /** When it was first seen. */
  readonly firstSeen: number;
  /** Losses when this life began, or was last found to be as it is: more since taint it. */
  lossesBefore: number;
  /** The number of the look at the host that last found it, see World.look. */
  foundBy = 0;
  /** Losses of the agent when this life ended, -1 before: later ones do not concern it. */
  lossesAtEnd = -1;
  keyLow = 0;
  keyHigh = 0;

  /**
   * It has no key, or was found by its name after events were lost: then the key may be
   * that of a namesake that it followed.
   */
  get isKeyUnsure(): boolean {
    return (this.keyLow === 0 && this.keyHigh === 0) || (this.adopted && this.foundBy > 0);
  }

  /** Nothing more can happen to it. */
  abstract get isOver(): boolean;

  constructor(firstSeen: number, adopted: boolean, lossesBefore: number) {
    this.firstSeen = firstSeen;
    this.adopted = adopted;
    this.lossesBefore = lossesBefore;
  }
}

export class Parent extends Life {
  readonly timeline = new Timeline();
  /** Of its struct device. */
  name = '';
  driver = '';
  state: ParentState = 'registered';
  registeredAt = 0;
  unregisterBegan = 0;
  /** Who withdraws it. */
  remover: Task | undefined;
  /** When the first of its devices was removed for that: from then on none can be created. */
  teardownBegan = 0;
  unregisteredAt = 0;
  readonly devices = new Set<Device>();

  get isOver(): boolean {
    return this.state === 'gone';
  }
}

export class Device extends Life {
  readonly timeline = new Timeline();
  /** UUID for an mdev, bus address for others. */
  name = '';
  bus = '';
  type = '';
  driver = '';
  parentName = '';
  parent: Parent | undefined;
  /** Of an mdev's directory in sysfs: no other of this boot has it. 0 while it is not known. */
  inode = 0;
  state: DeviceState = 'bound';

  createBegan = 0;
  createdAt = 0;
  /** What create returned, when it failed. */
  createError = 0;
  createFailedAt = 0;
  creator: Task | undefined;
  /** The live device that already had this UUID when this create began. */
  holder: Device | undefined;

  probeBegan = 0;
  /** What the last attempt of its driver to set it up returned, when it failed. */
  probeError = 0;
  unbindBegan = 0;
  /** How often its driver was made to let go of it since it last set it up. */
  unbinds = 0;
  unboundAt = 0;

  vdevLow = 0;
  vdevHigh = 0;
  vfio: VfioState = 'none';
  initialisedAt = 0;
  /** When its vfio_device was freed. */
  vdevReleasedAt = 0;
  /** Its driver can ask its users to let go of it. */
  asksUsers = false;
  registeredAt = 0;
  unregisterBegan = 0;
  unregisteredAt = 0;
  groupId = -1;

  removeBegan = 0;
  removedAt = 0;
  remover: Task | undefined;
  /** The attempt to remove it that failed: its errno and when. */
  removeError = 0;
  removeFailedAt = 0;
  /** The state in which the remover found it. */
  stateAtRemove: DeviceState = 'bound';
  releasedAt = 0;

  /** open_count as last sampled from the kernel, and when. */
  openCount = 0;
  countedAt = 0;
  readonly opens: Open[] = [];
  opensTotal = 0;
  vm: Vm | undefined;
  /** When an event last told which VM it holds. */
  heldAt = 0;
  /** The VM that its group offered when it last captured one, or was to. */
  vmOffered: Vm | undefined;
  /** The open by which it came into use, when that was seen. */
  firstOpen: Open | undefined;
  /**
   * References on VMs that its driver took since then while it was being opened or closed,
   * less those that it gave back.
   */
  driverRefs = 0;
  /** The VM is its group's: this kernel does not tell what the device holds itself. */
  vmOfGroup = false;

  /** Whether it is an mdev, which has a life of its own, or a device lent as a whole. */
  get isMdev(): boolean {
    return this.bus === 'mdev';
  }

  /** Its vfio_device was made and not freed; false where the kernel tells neither. */
  get hasVdev(): boolean {
    return this.initialisedAt > 0 && this.vdevReleasedAt === 0;
  }

  /** Neither an open that has not succeeded yet counts, nor a close that has only to return. */
  get isOpen(): boolean {
    return this.opens.some(({ state }) => state === 'open');
  }

  /** Its removal began and it waits for those who have it open. */
  get isWaiting(): boolean {
    return this.unregisterBegan > 0 && this.unregisteredAt === 0 && this.openCount > 0;
  }

  /** It is being set up, by a call whose end may not show: its begin was not seen, or events were lost. */
  get isCreationUnseen(): boolean {
    return this.state === 'creating' && (this.adopted || this.createBegan === 0);
  }

  get isOver(): boolean {
    return this.state === 'released' || this.state === 'failed';
  }
}

/** One device file. */
export class Open extends Life {
  readonly device: Device;
  /** Who opened it; of one that was open before, who holds it. */
  readonly task: Task;
  state: OpenState = 'opening';
  fd = -1;
  vm: Vm | undefined;
  openedAt = 0;
  closeBegan = 0;
  closedAt = 0;
  error = 0;
  /** Whoever opened it does not share the memory of the VM that it was opened for. */
  foreign = false;

  get isOver(): boolean {
    return this.state === 'closed' || this.state === 'failed';
  }

  constructor(device: Device, task: Task, firstSeen: number, adopted: boolean, losses: number) {
    super(firstSeen, adopted, losses);
    this.device = device;
    this.task = task;
  }
}

export class Vm extends Life {
  readonly timeline = new Timeline();
  /** The process that made it; for an adopted VM only the thread id is known. */
  task: Task | undefined;
  makerTid = 0;
  fd = -1;
  state: VmState = 'running';
  createdAt = 0;
  fdClosedAt = 0;
  /** When, after its descriptor was closed, no process was first found to hold a file of it. */
  unheldAt = 0;
  destroyBegan = 0;
  destroyedAt = 0;
  /** users_count after the last event. */
  users = -1;
  readonly devices = new Set<Device>();

  get isOver(): boolean {
    return this.state === 'destroyed' || this.state === 'failed';
  }
}

/** The IOMMU group through which a VM is told about its devices. */
export class Group {
  readonly id: number;
  readonly devices = new Set<Device>();
  vm: Vm | undefined;
  /** When it was last told its VM, or that it has none; 0 while that is not known. */
  setAt = 0;
  /** How often events had been found lost by then. */
  setLosses = 0;
  /** When the VM was taken away although a device was open, and by a process on its way out. */
  clearedByExitAt = 0;
  /** When its last descriptor was closed, 0 while it has one again, or was not seen. */
  closedAt = 0;

  constructor(id: number) {
    this.id = id;
  }
}

/** A VFIO_GROUP_GET_DEVICE_FD in flight. */
export interface FdRequest {
  readonly began: number;
  readonly name: string;
  readonly groupId: number;
  readonly task: Task;
  open: Open | undefined;
  /** What vfio_df_open returned, when it was reached. */
  openError: number;
}
