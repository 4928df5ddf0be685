/** The thread that made a call, as records name it. */
import type { EventCursor } from './cursor.ts';

/** The id of the root of cgroup v2, in which everything is where only v1 is used. */
export const ROOT_CGROUP = 1;

export interface Task {
  readonly pid: number;
  readonly tid: number;
  readonly comm: string;
  /** The id of its control group, 0 when it is not known. */
  readonly cgroup: number;
  /** -1 when it is not known. */
  readonly uid: number;
}

/** Copies the caller out of a record. It allocates: call it where an object begins or changes hands. */
export function taskOf(event: EventCursor): Task {
  const { pid, tid, cgroup, uid } = event;
  return { pid, tid, comm: event.comm(), cgroup, uid };
}
