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

/**
 * A thread makes several calls one after the other, so the task that was last read is kept in a slot for
 * the thread and returned again as long as nothing about it has changed.
 */
const latest: (Task | undefined)[] = new Array(256).fill(undefined);

/** The caller of a record. Only a task that differs from the one last read in its slot is allocated. */
export function taskOf(event: EventCursor): Task {
  const { pid, tid, cgroup, uid } = event;
  const comm = event.comm();
  const slot = tid % latest.length;
  const known = latest[slot];
  const isSame = known?.tid === tid && known.pid === pid && known.comm === comm;
  if (isSame && known.cgroup === cgroup && known.uid === uid) return known;
  const task = { pid, tid, comm, cgroup, uid };
  latest[slot] = task;
  return task;
}
