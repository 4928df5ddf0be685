/** What a story is made of: who acts, on what, and what has begun and not ended. */

export interface Actor {
  readonly pid: number;
  readonly comm: string;
}

export interface ToldParent {
  readonly key: number;
  readonly name: string;
  readonly driver: string;
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

/** A record, "so late is it now" in ns, or the processes that have KVM files from here on. */
export type Step = Uint8Array | number | ReadonlySet<number>;
