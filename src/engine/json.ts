/** The attribution of a violation as plain JSON, the same in the API and in the log. */

import type { ControlGroup } from '../events/host.ts';
import type { Task } from '../events/task.ts';
import type { Blocked, Holder, Party, Processes, Waiter, Waiters } from './violation.ts';

/** @param group the control group of the task, as far as it is known */
export function shownTask({ pid, tid, comm, uid, cgroup }: Task, group?: ControlGroup) {
  return {
    ...{ pid, tid, comm },
    uid: uid >= 0 ? uid : undefined,
    cgroupId: cgroup || undefined,
    cgroup: group?.path,
    systemdUnit: group?.unit,
    container: group?.container,
  };
}

export function shownParty(party: Party | undefined) {
  return party && shownTask(party.task, party.group);
}

/** Who caused the occurrences of a violation, the first ones by pid. */
export function shownProcesses({ listed }: Processes) {
  return listed.map((one) => ({ ...shownParty(one), occurrences: one.occurrences }));
}

export function shownHolder(holder: Holder) {
  const { holds, how, device, fd, vm, inKernel } = holder;
  return {
    process: shownParty(holder),
    ...{ holds, how, device },
    fd: fd >= 0 ? fd : undefined,
    vm: vm?.id,
    waits: inKernel,
  };
}

export function shownBlocked(blocked: Blocked | undefined) {
  return blocked && { ...shownParty(blocked), ...blocked.inKernel };
}

/** How many wait behind a call, as far as is known. */
export function shownWaiterCounts({ sure, probable, possible, missing }: Waiters) {
  return { waits: sure, probablyWaits: probable, mayWait: possible, missing };
}

export function shownWaiter(waiter: Waiter) {
  return { ...shownParty(waiter), how: waiter.how, ...waiter.inKernel };
}
