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
    pod: group?.pod,
  };
}

export function shownParty(party: Party | undefined) {
  return party && shownTask(party.task, party.group);
}

/** Who caused the occurrences of a violation, the first ones by pid. */
export function shownProcesses({ listed }: Processes) {
  return listed.map((one) => ({ ...shownParty(one), occurrences: one.occurrences }));
}

/**
 * A time on both clocks.
 * @param at ns on the boot-time clock, 0 for never
 * @param wallOffset ns from that clock to 1970, at a time on it
 */
export function shownTime(at: number, wallOffset: (at: number) => number) {
  if (at === 0) return undefined;
  return { ns: at, at: new Date((at + wallOffset(at)) / 1e6).toISOString() };
}

export function shownHolder(holder: Holder) {
  const { holds, how, device, fd, vm, inKernel } = holder;
  return {
    process: shownParty(holder),
    ...{ holds, how, device },
    fd: fd >= 0 ? fd : undefined,
    vm: vm?.id,
    vmName: vm?.name,
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
