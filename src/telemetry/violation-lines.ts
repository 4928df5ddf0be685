/** What the log says of violations. */
import { attributionOf } from '../engine/attribution-lines.ts';
import {
  shownBlocked,
  shownHolder,
  shownParty,
  shownWaiter,
  shownWaiterCounts,
} from '../engine/json.ts';
import type { Change } from '../engine/sink.ts';
import type { Violation, Waiters } from '../engine/violation.ts';
import { waiterLines } from '../engine/waiter-words.ts';
import { seconds, vmLabel } from '../engine/words.ts';
import type { Ids } from './log-fields.ts';

/** Identifies a violation, so that it can be found in the API. */
export function idFields(violation: Violation, change: Change, ids: Ids) {
  const { id, rule, severity, device, quality, count, type, parent, incarnation } = violation;
  return {
    event: `violation.${change}`,
    violation: id,
    ...{ rule, severity, device, quality, count },
    ...{ mdevType: type || undefined, parent: parent || undefined, incarnation },
    vm: violation.vm?.id,
    vmName: violation.vm?.name,
    vmUuid: violation.vm?.uuid,
    ...ids.violation(violation, change === 'resolved' ? violation.resolvedAt : violation.lastSeen),
  };
}

export function attributionFields(violation: Violation, ids: Ids) {
  const { message, holders, blocked, waiters, creator, requester, remover, kernelLog } = violation;
  return {
    message,
    process: shownParty(violation.process),
    holders: holders.map((one) => ({ ...shownHolder(one), since: ids.time(one.since) })),
    blocked: shownBlocked(blocked),
    waiters: waiters && loggedWaiters(waiters, ids),
    createdBy: shownParty(creator),
    requestedBy: shownParty(requester),
    removedBy: shownParty(remover),
    kernelLog,
  };
}

/** Without their stacks, which are in the API: a line has a limit. */
function loggedWaiters(waiters: Waiters, ids: Ids) {
  const tasks = waiters.listed.map((one) => ({
    ...{ ...shownWaiter(one), stack: undefined },
    callBegan: ids.time(one.callBegan),
  }));
  return { ...shownWaiterCounts(waiters), tasks };
}

/** The title of the rule, the message of this violation, and its attribution. */
export function violationText(violation: Violation, change: Change): string {
  const { id, rule, severity, title, message } = violation;
  const word = change === 'escalated' ? 'ESCALATED' : 'VIOLATION';
  return [
    `${word} ${id} ${rule} (${severity}): ${title}`,
    message,
    ...attributionOf(violation).map((labelled) => labelled.join(' ')),
  ].join('\n  ');
}

/** The message, which counts those who wait behind a call, and a line for each. */
export function waitersText({ id, rule, severity, message, waiters, lastSeen }: Violation): string {
  return [
    `waiters of ${id} ${rule} (${severity}): ${message}`,
    ...waiterLines(waiters, lastSeen),
  ].join('\n  ');
}

export function resolvedWords(violation: Violation): string {
  const { id, rule, device, vm, parent, firstSeen, resolvedAt, conclusion } = violation;
  const about = device ?? (vm ? vmLabel(vm) : parent);
  const lasted = seconds(resolvedAt - firstSeen);
  const result = conclusion ? `: ${conclusion}` : '';
  return `resolved ${id} ${rule}${about ? ` of ${about}` : ''}, ${lasted} after it was raised${result}`;
}
