/** Durations and errors of operations, counted without allocation. */

import { errnoName } from '../engine/errno.ts';
import type { Sink } from '../engine/sink.ts';
import { type EventKind, KIND_COUNT, kindIndexOf } from '../events/points.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import type { Transition } from '../lifecycle/transition.ts';
import { SECOND } from '../units.ts';
import { boundText, type Exemplar, type Samples } from './metrics/samples.ts';
import type { MetricsSource } from './metrics/source.ts';

/** Upper bounds in seconds of operations that only the kernel and a driver have to do with. */
const QUICK = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600];
/** Of those that may wait until somebody closes a file: where it matters is between 10 s and 10 min. */
const WAITING = [0.001, 0.01, 0.1, 1, 5, 10, 20, 30, 60, 120, 300, 600, 3600];

interface Operation {
  /** The event kind that completes it. */
  readonly at: EventKind;
  readonly name: string;
  readonly meaning: string;
  readonly bounds: readonly number[];
}

const OPERATIONS: readonly Operation[] = [
  quick('mdev.create:end', 'create', 'a write to `create`'),
  quick('mdev.probe:end', 'bind', 'the driver binds a device'),
  quick(
    'vfio.device.open:end',
    'open',
    'a device is opened, timed without the wait for the lock of its device set, and in progress from the ' +
      'request for a device file, or the bind of a cdev to an iommufd, on',
  ),
  quick('vfio.device.close:end', 'close', 'a device file is closed'),
  quick(
    'vfio.cdev.attach:end',
    'attach',
    'a device is attached to an address space or page table of its iommufd',
  ),
  quick(
    'vfio.cdev.detach:end',
    'detach',
    'a device is detached from the address space or page table of its iommufd',
  ),
  waiting('mdev.remove:end', 'remove', 'a write to `remove`, including the wait for users'),
  waiting(
    'mdev.remove_child:end',
    'remove_child',
    'the removal of a device because its parent is unregistered',
  ),
  waiting(
    'vfio.unregister:end',
    'wait_for_users',
    'the unregistration of a device from VFIO, until the last user has closed it',
  ),
  quick('mdev.release:end', 'release', 'an mdev is freed'),
  waiting(
    'mdev.parent.unregister:end',
    'parent_unregister',
    'a parent is unregistered together with its devices',
  ),
  quick('kvm.vm.create:end', 'vm_create', 'KVM creates a VM'),
  quick('kvm.vm.destroy:end', 'vm_destroy', 'KVM destroys a VM'),
];

function quick(at: EventKind, name: string, meaning: string): Operation {
  return { at, name, meaning, bounds: QUICK };
}

function waiting(at: EventKind, name: string, meaning: string): Operation {
  return { at, name, meaning, bounds: WAITING };
}

export const OPERATION_MEANINGS = OPERATIONS.map(({ name, meaning }) => [name, meaning] as const);

/** Buckets of an operation, the one without an upper bound included. */
const BUCKETS = QUICK.length + 1;
const LE = OPERATIONS.map(({ bounds }) => [...bounds, Number.POSITIVE_INFINITY].map(boundText));
const RESULTS = ['ok', 'error'] as const;
/** The largest error that a kernel function can return. */
const MAX_ERRNO = 4095;

export class Durations implements Sink {
  readonly #operationOf = new Int8Array(KIND_COUNT).fill(-1);
  /** Not cumulative; by operation, result and bucket, as the three arrays below. */
  readonly #counts = new Float64Array(OPERATIONS.length * RESULTS.length * BUCKETS);
  /** The latest object counted in a bucket, its duration (ns) and when it ended (ns on the boot-time clock). */
  readonly #objects: (Device | Vm | undefined)[] = new Array(this.#counts.length).fill(undefined);
  readonly #took = new Float64Array(this.#counts.length);
  readonly #ended = new Float64Array(this.#counts.length);
  /** Seconds, by operation and result. */
  readonly #sums = new Float64Array(OPERATIONS.length * RESULTS.length);
  /** By operation and errno. */
  readonly #errors = new Map<number, number>();

  constructor() {
    for (const [i, { at }] of OPERATIONS.entries()) this.#operationOf[kindIndexOf(at)] = i;
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
    const { bounds } = OPERATIONS[operation];
    let bucket = 0;
    while (bucket < bounds.length && elapsed > bounds[bucket]) bucket++;
    const at = row * BUCKETS + bucket;
    this.#sums[row] += elapsed;
    this.#counts[at]++;
    this.#objects[at] = transition.device ?? transition.vm;
    this.#took[at] = transition.duration;
    this.#ended[at] = time;
  }

  /** Writes all operations that have returned as one histogram. */
  show(samples: Samples, source: MetricsSource): void {
    for (const [i, { name }] of OPERATIONS.entries()) {
      for (const [j, result] of RESULTS.entries()) {
        const row = i * RESULTS.length + j;
        const first = row * BUCKETS;
        const counts = this.#counts.subarray(first, first + BUCKETS);
        if (counts.every((count) => count === 0)) continue;
        let below = 0;
        for (const [bucket, le] of LE[i].entries()) {
          below += counts[bucket];
          samples.part(
            '_bucket',
            below,
            [name, result, le],
            this.#exemplar(first + bucket, source),
          );
        }
        samples.part('_sum', this.#sums[row], [name, result]);
        samples.part('_count', below, [name, result]);
      }
    }
  }

  /** How often each operation failed with which error. */
  *errors(): Iterable<{ operation: string; errno: string; count: number }> {
    const named = new Map<string, { operation: string; errno: string; count: number }>();
    for (const [key, count] of this.#errors) {
      const operation = OPERATIONS[Math.floor(key / (MAX_ERRNO + 1))].name;
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
