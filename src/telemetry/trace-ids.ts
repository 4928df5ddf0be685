/**
 * The ids of traces and spans, in traces, logs, metrics and API. They are derived from facts that the
 * kernel reports about the object, so that every agent, restart and replay gives the same ids.
 */
import { hash } from 'node:crypto';
import { Device, type Vm } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import type { PhaseName } from './phases.ts';
import { Segments } from './segments.ts';

/** Where a span or log record belongs. */
export interface SpanReference {
  readonly traceId: string;
  readonly spanId: string;
}

export class TraceIds {
  /** Where long spans are cut. */
  readonly segments: Segments;
  readonly #bootId: string;
  readonly #world: Pick<World, 'vms'>;
  /** An id that has been used stays the same, whatever is learnt about the object later. */
  readonly #traces = new WeakMap<Device | Vm, string>();

  /**
   * @param bootId of the kernel that the events are of, see `bootId()`
   * @param maxSpanAge ns, the default for undefined
   */
  constructor(bootId: string, world: Pick<World, 'vms'>, maxSpanAge?: number) {
    this.#bootId = bootId;
    this.#world = world;
    this.segments = new Segments(maxSpanAge);
  }

  /** @returns 32 hexadecimal digits; undefined while the object cannot be identified yet */
  readonly traceIdOf = (object: Device | Vm): string | undefined => {
    const known = this.#traces.get(object);
    if (known) return known;
    const identity = object instanceof Device ? identityOf(object) : this.#identityOfVm(object);
    if (identity === undefined) return undefined;
    const id = digest(`${this.#bootId} ${identity}`, 32);
    this.#traces.set(object, id);
    return id;
  };

  /**
   * The span of a lifecycle that is current at some time, or will be once it is sent.
   * @param at ns on the boot-time clock @returns undefined while the object cannot be identified yet
   */
  lifecycleSpan(object: Device | Vm, at: number): SpanReference | undefined {
    const traceId = this.traceIdOf(object);
    return traceId === undefined ? undefined : this.rootSpan(traceId, object.began, at);
  }

  /** The same by the id of the trace. @param traceBegan when the lifecycle began, ns @param at ns */
  rootSpan(traceId: string, traceBegan: number, at: number): SpanReference {
    return { traceId, spanId: rootSpanId(traceId, this.segments.of(traceId, traceBegan, at)) };
  }

  /** The span of a phase that is current at some time. @param began when the phase began, ns @param at ns */
  phaseSpan(
    object: Device | Vm,
    phase: PhaseName,
    began: number,
    at: number,
  ): SpanReference | undefined {
    const traceId = this.traceIdOf(object);
    if (traceId === undefined) return undefined;
    const segment = this.segments.of(traceId, object.began, at);
    return { traceId, spanId: this.phaseSpanId(traceId, phase, began, segment) };
  }

  /** @param began when the phase began, ns @param segment in which that piece of it is */
  phaseSpanId(traceId: string, phase: PhaseName, began: number, segment: number): string {
    const isFirst = began >= this.segments.beginOf(traceId, segment);
    return digest(`${traceId} ${phase} ${began}${isFirst ? '' : ` segment ${segment}`}`, 16);
  }

  /**
   * A VM has no name: it is identified by the thread that created it, which rarely creates more than
   * one, and by how many VMs that thread is known to have created before.
   */
  #identityOfVm(vm: Vm): string {
    if (vm.creatorTid === 0) return `vm seen ${vm.firstSeen}`;
    const { vms } = this.#world;
    const isEarlier = ({ creatorTid, serial }: Vm) =>
      creatorTid === vm.creatorTid && serial < vm.serial;
    const earlier = [...vms, ...vms.ended.list()].filter(isEarlier).length;
    return `vm ${vm.creatorTid} ${earlier}`;
  }
}

/** The id of the root span of a trace in a segment: 16 hexadecimal digits. */
export function rootSpanId(traceId: string, segment: number): string {
  return digest(`${traceId} segment ${segment}`, 16);
}

/**
 * Distinguishes a device from all others that had its name in this boot: an mdev by the inode of its
 * directory in sysfs, which exists as long as the mdev, others by the time when they were first observed.
 */
function identityOf(device: Device): string | undefined {
  const { bus, name, inode, state, probeBegan, createBegan, firstSeen } = device;
  if (inode > 0) return `${bus} ${name} inode ${inode}`;
  // The directory exists only when the driver is probed.
  if (state === 'creating' && probeBegan === 0) return undefined;
  return `${bus} ${name} at ${createBegan || firstSeen}`;
}

function digest(text: string, digits: number): string {
  return hash('sha256', text).slice(0, digits);
}
