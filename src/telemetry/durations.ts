/** How long operations take and how they fail, counted without allocation. */
import type { Moment } from '../lifecycle/moment.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import { MOMENT_COUNT, type MomentName, momentIndexOf } from '../lifecycle/points.ts';
import { errnoName } from '../rules/errno.ts';
import { boundText, type Exemplar, type MetricsSource, type Samples } from './metrics/metric.ts';

/** The moment that completes it, its name, and what it is. */
const OPERATIONS: readonly (readonly [MomentName, string, string])[] = [
  ['mdev.create:end', 'create', 'a write to `create`'],
  ['mdev.probe:end', 'bind', 'the driver sets a device up'],
  ['vfio.device.open:end', 'open', 'a device file is opened'],
  ['vfio.device.close:end', 'close', 'and closed'],
  ['mdev.remove:end', 'remove', 'a write to `remove`, waiting included'],
  ['mdev.remove_child:end', 'remove_child', 'a removal because the parent goes'],
  ['vfio.unregister:end', 'wait_for_users', 'until the last user has closed the device'],
  ['mdev.release:end', 'release', 'the device is freed'],
  ['mdev.parent.unregister:end', 'parent_unregister', 'a parent is withdrawn with its devices'],
  ['kvm.vm.create:end', 'vm_create', 'KVM makes a VM'],
  ['kvm.vm.destroy:end', 'vm_destroy', 'and frees it'],
];

export const OPERATION_MEANINGS = OPERATIONS.map(([, name, meaning]) => [name, meaning] as const);

/** Upper bounds in seconds: from a fast open to a removal that somebody has to look at. */
const BOUNDS = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600];
const LE = [...BOUNDS, Number.POSITIVE_INFINITY].map(boundText);
const RESULTS = ['ok', 'error'] as const;
/** The largest error that a kernel function can return. */
const MAX_ERRNO = 4095;

export class Durations {
  readonly #operationOf = new Int8Array(MOMENT_COUNT).fill(-1);
  /** Single, not cumulative: by operation, result and bucket, as the three below. */
  readonly #counts = new Float64Array(OPERATIONS.length * RESULTS.length * LE.length);
  /** The latest life that fell into it, how long that took (ns) and when (ns on the boot-time clock). */
  readonly #lives: (Device | Vm | undefined)[] = new Array(this.#counts.length).fill(undefined);
  readonly #took = new Float64Array(this.#counts.length);
  readonly #ended = new Float64Array(this.#counts.length);
  /** Seconds, by operation and result. */
  readonly #sums = new Float64Array(OPERATIONS.length * RESULTS.length);
  /** By operation and errno. */
  readonly #errors = new Map<number, number>();

  constructor() {
    for (const [i, [moment]] of OPERATIONS.entries()) this.#operationOf[momentIndexOf(moment)] = i;
  }

  /** Counts the operation that this moment completes, if it completes one. */
  take(moment: Moment): void {
    const operation = this.#operationOf[moment.index];
    if (operation < 0) return;
    const { ret, time } = moment.event;
    if (ret < 0) this.#countError(operation, -ret);
    if (moment.duration < 0) return;
    const row = operation * RESULTS.length + (ret < 0 ? 1 : 0);
    const elapsed = moment.duration / 1e9;
    let bucket = 0;
    while (bucket < BOUNDS.length && elapsed > BOUNDS[bucket]) bucket++;
    const at = row * LE.length + bucket;
    this.#sums[row] += elapsed;
    this.#counts[at]++;
    this.#lives[at] = moment.device ?? moment.vm;
    this.#took[at] = moment.duration;
    this.#ended[at] = time;
  }

  /** Shows all of it as one histogram. */
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
    const life = this.#lives[at];
    const traceId = life && source.traceIdOf(life);
    if (traceId === undefined) return undefined;
    return { traceId, value: this.#took[at] / 1e9, at: source.sinceEpoch(this.#ended[at]) };
  }
}
