/**
 * The ids of lives and of their phases, in traces, logs and metrics. They are derived from what
 * the kernel says of the object, so that every agent, restart and replay gives the same ones.
 */
import { hash } from 'node:crypto';
import { Device, type Vm } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';

export class LifeIds {
  readonly #bootId: string;
  readonly #world: Pick<World, 'vms' | 'endedVms'>;
  /** Once told, an id stays, whatever is learnt of the object later. */
  readonly #traces = new WeakMap<Device | Vm, string>();

  /** @param bootId of the kernel that the events are of, see `bootId()` */
  constructor(bootId: string, world: Pick<World, 'vms' | 'endedVms'>) {
    this.#bootId = bootId;
    this.#world = world;
  }

  /** @returns 32 hexadecimal digits; undefined as long as the kernel has not told which life it is */
  readonly traceIdOf = (life: Device | Vm): string | undefined => {
    const known = this.#traces.get(life);
    if (known) return known;
    const identity = life instanceof Device ? identityOf(life) : this.#identityOfVm(life);
    if (identity === undefined) return undefined;
    const id = digest(`${this.#bootId} ${identity}`, 32);
    this.#traces.set(life, id);
    return id;
  };

  /**
   * A VM has no name: it is told by the thread that made it, which rarely makes more than one,
   * and by how many that thread is known to have made before.
   */
  #identityOfVm(vm: Vm): string {
    if (vm.makerTid === 0) return `vm seen ${vm.firstSeen}`;
    const { vms, endedVms } = this.#world;
    const isEarlier = ({ makerTid, serial }: Vm) => makerTid === vm.makerTid && serial < vm.serial;
    const earlier = [...vms, ...endedVms.list()].filter(isEarlier).length;
    return `vm ${vm.makerTid} ${earlier}`;
  }
}

/** The id of a life's own span: 16 hexadecimal digits. */
export function lifeSpanId(traceId: string): string {
  return digest(traceId, 16);
}

/** The id of the span of a phase. @param began ns on the boot-time clock */
export function phaseSpanId(traceId: string, phase: string, began: number): string {
  return digest(`${traceId} ${phase} ${began}`, 16);
}

/**
 * Which device it is: of all those that ever had its name in this boot. An mdev's directory in
 * sysfs is there as long as it; others are told by when they began.
 */
function identityOf(device: Device): string | undefined {
  const { bus, name, inode, state, probeBegan, createBegan, firstSeen } = device;
  if (inode > 0) return `${bus} ${name} inode ${inode}`;
  // Until its driver is asked, it has no directory.
  if (state === 'creating' && probeBegan === 0) return undefined;
  return `${bus} ${name} at ${createBegan || firstSeen}`;
}

function digest(text: string, digits: number): string {
  return hash('sha256', text).slice(0, digits);
}
