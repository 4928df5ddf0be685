/** What a story is made of: who acts, on what, and what has begun and not ended. */

export interface Actor {
  readonly pid: number;
  /** Of one of its threads; its first unless told otherwise. */
  readonly tid?: number;
  readonly comm: string;
  /** 0 unless told otherwise. */
  readonly uid?: number;
  /** Its id; 0, for none, unless told otherwise. */
  readonly cgroup?: number;
  /** The process whose memory it shares; its own unless told otherwise. */
  readonly memory?: number;
}

export interface ToldParent {
  readonly key: number;
  readonly name: string;
  readonly driver: string;
  /** Of the mdevs that it gives. */
  readonly type: string;
}

export interface ToldDevice {
  readonly key: number;
  readonly uuid: string;
  readonly parent: ToldParent | undefined;
  readonly groupId: number;
  openCount: number;
  /** What the group was told, and what the device captured at its first open. */
  groupVm: ToldVm | undefined;
  vm: ToldVm | undefined;
}

export interface ToldVm {
  readonly key: number;
  readonly task: Actor;
  users: number;
}

export interface Opening {
  readonly device: ToldDevice;
  readonly key: number;
  readonly task: Actor;
}

export interface Creation {
  readonly device: ToldDevice;
  readonly task: Actor;
}

export interface Removal {
  readonly device: ToldDevice;
  readonly task: Actor;
  /** The kernel has not begun to take the device apart. */
  idle: boolean;
}

export interface Unregistering {
  readonly parent: ToldParent;
  readonly task: Actor;
}

/** How many more mdevs of each type a parent offers, by their names. */
export type Offers = ReadonlyMap<string, ReadonlyMap<string, number>>;

/**
 * A record, "so late is it now" in ns, that events are lost, or what is so from here on: the
 * processes that have KVM files, and what a parent offers.
 */
export type Step = Uint8Array | number | 'loss' | ReadonlySet<number> | Offers;
