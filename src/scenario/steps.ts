/**
 * The steps of a scenario: records in the wire format, and passing time. What the kernel does in each
 * step is in scenario.ts, and in mdev.ts, vfio.ts and kvm.ts what few scenarios need.
 */
import { encodeRecord, type RecordFields } from '../events/encoder.ts';
import { type EventKind, POINTS, type PointName } from '../events/points.ts';
import { FLAG } from '../events/wire.gen.ts';
import { SECOND } from '../units.ts';
import type { Actor, Step } from './types.ts';

/** ns between two records. */
const STEP = 10_000;

export class Steps {
  readonly steps: Step[] = [];
  /** How many objects have got a key. */
  protected keys = 0;
  #time = 1000e9;
  #seq = 0;

  /** Lets time pass, with a tick every second. */
  wait(seconds: number): void {
    for (let i = 0; i < seconds; i++) {
      this.#time += SECOND;
      this.steps.push(this.#time);
    }
  }

  /** Lets time pass without a tick, as between two of them on a busy machine. */
  pass(seconds: number): void {
    this.#time += seconds * SECOND;
  }

  /** An event by its kind; steps that few scenarios need are functions in mdev.ts and vfio.ts. */
  event(kind: EventKind, task: Actor, fields: Partial<RecordFields>): void {
    const split = kind.lastIndexOf(':');
    const flag = kind.endsWith(':end') ? FLAG.EVENT_END : 0;
    this.#emit(kind.slice(0, split) as PointName, task, fields, flag);
  }

  protected begin(point: PointName, task: Actor, fields: Partial<RecordFields>): void {
    this.#emit(point, task, fields, 0);
  }

  protected end(point: PointName, task: Actor, fields: Partial<RecordFields>): void {
    this.#emit(point, task, fields, FLAG.EVENT_END);
  }

  #emit(point: PointName, task: Actor, fields: Partial<RecordFields>, flag: number): void {
    this.#time += STEP;
    const flags = (fields.flags ?? 0) | flag;
    this.steps.push(
      encodeRecord({
        ...fields,
        time: this.#time,
        // Records of a host snapshot have no place in the sequence of a CPU.
        seq: flags & FLAG.EVENT_SNAPSHOT ? 0 : this.#seq++,
        point: POINTS[point],
        flags,
        pid: task.pid,
        tid: task.tid ?? task.pid,
        comm: task.comm,
        uid: task.uid ?? 0,
        cgroup: task.cgroup ?? 0,
      }),
    );
  }

  /** The key of a new object, its address in the kernel. */
  protected key(): number {
    return ++this.keys;
  }
}
