/** Durations and errors of operations, counted without allocation. */

import { errnoName } from '../engine/errno.ts';
import type { Sink } from '../engine/sink.ts';
import { type EventKind, KIND_COUNT, kindIndexOf } from '../events/points.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import type { Transition } from '../lifecycle/transition.ts';
import { SECOND } from '../units.ts';
import { boundText, type Exemplar, type Samples } from './metrics/samples.ts';
import type { MetricsSource } from './metrics/source.ts';

/** The event kind that completes an operation, the name of the operation, and what it is. */
const OPERATIONS: readonly (readonly [EventKind, string, string])[] = [
  ['mdev.create:end', 'create', 'a write to `create`'],
  ['mdev.probe:end', 'bind', 'the driver binds a device'],
  ['vfio.device.open:end', 'open', 'a device file is opened'],
  ['vfio.device.close:end', 'close', 'a device file is closed'],
  ['mdev.remove:end', 'remove', 'a write to `remove`, including the wait for users'],
  [
    'mdev.remove_child:end',
    'remove_child',
    'the removal of a device because its parent is unregistered',
  ],
  [
    'vfio.unregister:end',
    'wait_for_users',
    'the unregistration of a device from VFIO, until the last user has closed it',
  ],
  ['mdev.release:end', 'release', 'an mdev is freed'],
  [
    'mdev.parent.unregister:end',
    'parent_unregister',
    'a parent is unregistered together with its devices',
  ],
  ['kvm.vm.create:end', 'vm_create', 'KVM creates a VM'],
  ['kvm.vm.destroy:end', 'vm_destroy', 'KVM destroys a VM'],
];

export const OPERATION_MEANINGS = OPERATIONS.map(
  ([, name, description]) => [name, description] as const,
);

/** Upper bounds in seconds, from a fast open to a removal that is stuck. */
const BOUNDS = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600];
const LE = [...BOUNDS, Number.POSITIVE_INFINITY].map(boundText);
const RESULTS = ['ok', 'error'] as const;
/** The largest error that a kernel function can return. */
const MAX_ERRNO = 4095;

export class Durations implements Sink {
  readonly #operationOf = new Int8Array(KIND_COUNT).fill(-1);
  /** Not cumulative; by operation, result and bucket, as the three arrays below. */
  readonly #counts = new Float64Array(OPERATIONS.length * RESULTS.length * LE.length);
  /** The latest object counted in a bucket, its duration (ns) and when it ended (ns on the boot-time clock). */
  readonly #objects: (Device | Vm | undefined)[] = new Array(this.#counts.length).fill(undefined);
  readonly #took = new Float64Array(this.#counts.length);
  readonly #ended = new Float64Array(this.#counts.length);
  /** Seconds, by operation and result. */
  readonly #sums = new Float64Array(OPERATIONS.length * RESULTS.length);
  /** By operation and errno. */
  readonly #errors = new Map<number, number>();

  constructor() {
    for (const [i, [transition]] of OPERATIONS.entries())
      this.#operationOf[kindIndexOf(transition)] = i;
  }

  /** Counts the operation that this transition completes, if it completes one. */
  event(transition: Transition): void {
    const operation = this.#operationOf[transition.index];
    if (operation < 0) return;
    const { ret, time } = transition.event;
    if (ret < 0) this.#countError(operation, -ret);
    if (transition.duration < 0) return;
    const row = operation * RESULTS.length + (ret < 0 ? 1 : 0);
    const elapsed = transition.duration / SECOND;
    let bucket = 0;
    while (bucket < BOUNDS.length && elapsed > BOUNDS[bucket]) bucket++;
    const at = row * LE.length + bucket;
    this.#sums[row] += elapsed;
    this.#counts[at]++;
    this.#objects[at] = transition.device ?? transition.vm;
    this.#took[at] = transition.duration;
    this.#ended[at] = time;
  }

  /** Writes all operations as one histogram. */
  show(samples: Samples, source: MetricsSource): void {
    for (const [i, [, operation]] of OPERATIONS.entries()) {
      for (const [j, result] of RESULTS.entries()) {
        const row = i * RESULTS.length + j;
        let below = 0;
        for (const [bucket, le] of LE.entries()) {
          const at = row * LE.length + bucket;
          below += this.#counts[at];
          samples.part('_bucket', below, [operation, result, le], this.#exemplar(at, source));
        }
        samples.part('_sum', this.#sums[row], [operation, result]);
        samples.part('_count', below, [operation, result]);
      }
    }
  }

  /** How often each operation failed with which error. */
  *errors(): Iterable<{ operation: string; errno: string; count: number }> {
    const named = new Map<string, { operation: string; errno: string; count: number }>();
    for (const [key, count] of this.#errors) {
      const operation = OPERATIONS[Math.floor(key / (MAX_ERRNO + 1))][1];
      const errno = errnoName(key % (MAX_ERRNO + 1), 'other');
      const known = named.get(`${operation} ${errno}`);
      if (known) known.count += count;
      else named.set(`${operation} ${errno}`, { operation, errno, count });
    }
    yield* named.values();
  }

  #countError(operation: number, errno: number): void {
    const key = operation * (MAX_ERRNO + 1) + Math.min(errno, MAX_ERRNO);
    this.#errors.set(key, (this.#errors.get(key) ?? 0) + 1);
  }

  #exemplar(at: number, source: MetricsSource): Exemplar | undefined {
    const object = this.#objects[at];
    const traceId = object && source.traceIdOf(object);
    if (traceId === undefined) return undefined;
    return { traceId, value: this.#took[at] / SECOND, at: source.sinceEpoch(this.#ended[at]) };
  }
}
