/** Who is behind a violation as plain JSON, the same in the API and in the log. */
import type { Task } from '../lifecycle/objects.ts';
import type { ControlGroup } from './rule.ts';
import type { Blocked, Holder, Party } from './violation.ts';

/** @param group where it belongs, as far as that is known */
export function shownTask({ pid, tid, comm, uid, cgroup }: Task, group?: ControlGroup) {
  return {
    ...{ pid, tid, comm },
    uid: uid >= 0 ? uid : undefined,
    cgroupId: cgroup || undefined,
    cgroup: group?.path,
    unit: group?.unit,
    container: group?.container,
  };
}

export function shownParty(party: Party | undefined) {
  return party && shownTask(party.task, party.group);
}

export function shownHolder(holder: Holder) {
  const { holds, how, device, fd, vm } = holder;
  return {
    process: shownParty(holder),
    ...{ holds, how, device },
    fd: fd >= 0 ? fd : undefined,
    vm: vm?.id,
  };
}

export function shownBlocked(blocked: Blocked | undefined) {
  return blocked && { ...shownParty(blocked), ...blocked.inKernel };
}
