/** Who has a VFIO group open: only one process at a time can. */
import type { FileOwner } from '../events/host.ts';
import type { Task } from '../events/task.ts';
import type { Device, Group } from '../lifecycle/objects.ts';
import type { ObjectMemory } from './memory.ts';
import type { RuleContext } from './rule.ts';
import { reportAnswered } from './waiting.ts';
import { hadIt, openerWords, seconds, who } from './words.ts';

/** How many processes and how many devices are named. */
const MOST = 3;

/** A group that could not be opened because it was open, as it was at that time. */
export interface BusyGroup {
  readonly id: number;
  readonly group: Group;
  /** When it could not be opened, ns on the boot-time clock. */
  readonly at: number;
  /** Who could not open it. */
  readonly task: Task;
  readonly user: Task | undefined;
  /** 0 when the open of {@link user} was not observed. */
  readonly openedAt: number;
  /** Which of its devices were open, as a sentence without its full stop. */
  readonly devices: string;
}

export function busyGroup(group: Group, task: Task, at: number): BusyGroup {
  const { id, user, openedAt } = group;
  return { id, group, at, task, user, openedAt, devices: devicesWords(group, user) };
}

/** The processes that have its file open. @returns undefined when that is not known; false while it may become known */
function usersOf(
  { id, at }: BusyGroup,
  { host, now, thresholds }: Pick<RuleContext, 'host' | 'now' | 'thresholds'>,
): readonly FileOwner[] | undefined | false {
  if (!host.fileOwners) return undefined;
  const owners = host.fileOwners(at);
  if (!owners) return now - at < thresholds.grace ? false : undefined;
  return owners.filter(({ groupFiles }) => groupFiles.some(({ group }) => group === id));
}

/** How many refusals of one device wait for the answer of /proc; more are reported without it. */
const MOST_WAITING = 16;

/** Refusals of a device of which /proc has not shown yet who has its group open. */
export type BusyGroups = ObjectMemory<Device, BusyGroup[]>;

/** Reports a refusal, or lets it wait until {@link reportKnownUsers} finds that /proc has answered. */
export function reportBusyGroup(
  device: Device,
  busy: BusyGroup,
  groups: BusyGroups,
  context: RuleContext,
  report: (busy: BusyGroup, device: Device) => void,
): void {
  const waiting = groups.of(device);
  // A snapshot may have delayed the close of the group, which is only known while it runs.
  const mayWait = waiting.length < MOST_WAITING && !context.world.snapshot;
  if (mayWait && usersOf(busy, context) === false) waiting.push(busy);
  else report(busy, device);
}

/** At each tick: reports the refusals about which /proc has answered. */
export function reportKnownUsers(
  groups: BusyGroups,
  context: RuleContext,
  report: (busy: BusyGroup, device: Device) => void,
): void {
  reportAnswered(groups, (busy) => usersOf(busy, context) === false, report);
}

/** Who has the group open, since when, and whether a device of it is open; follows "because". */
export function userWords(busy: BusyGroup, context: RuleContext): string {
  const { group, at, user, devices } = busy;
  // Whoever has it open later says nothing about that time.
  const isOver = group.closedAt > at || group.openedAt > at;
  const owners = isOver ? undefined : usersOf(busy, context) || undefined;
  if (user) return `${ownerWords(busy, user, owners)}. ${devices}`;
  if (owners && owners.length > 0) return `${namesOf(owners)} has it open. ${devices}`;
  const { deviceFileKeepsGroup } = context.host.traits;
  return (
    'it is already open. Only one process at a time can have a group open' +
    (deviceFileKeepsGroup === false ? ', and none while a device file keeps its container' : '')
  );
}

/** An open was observed, which may have been by a process that has passed the file on since. */
function ownerWords(
  { at, task, openedAt }: BusyGroup,
  user: Task,
  owners: readonly FileOwner[] | undefined,
): string {
  const ago = openedAt > 0 ? `${seconds(at - openedAt)} before` : '';
  if (!owners) {
    const had = openedAt > 0 ? `opened it ${ago}` : 'had it open when the agent first looked';
    return `${who(user)} ${had}, and it was not closed in between`;
  }
  if (owners.some(({ pid, startedAt }) => pid === user.pid && startedAt <= (openedAt || at))) {
    const since = openedAt > 0 ? `for ${seconds(at - openedAt)}` : 'since before the agent started';
    return `${user.pid === task.pid ? 'the same process' : who(user)} has had it open ${since}`;
  }
  const opener = `${who(user)}, ${hadIt(openedAt)}${ago && ` ${ago}`},`;
  return owners.length > 0
    ? `${opener} has passed it on: ${namesOf(owners)} has it open`
    : `${opener} has it no more, and which process has it now is not known`;
}

function namesOf(owners: readonly FileOwner[]): string {
  const names = owners.slice(0, MOST).map(who);
  if (owners.length > MOST) names.push(`${owners.length - MOST} more`);
  return names.join(', ');
}

/** @param user who has the group, where that is known */
function devicesWords({ devices }: Group, user: Task | undefined): string {
  const open = [...devices].filter(({ opens, openCount }) => opens.length > 0 || openCount > 0);
  if (open.length === 0) return 'Only the group is open, and none of its devices';
  const words = open.slice(0, MOST).map(({ name, opens }) => {
    const others = opens.filter(({ task }) => task.pid !== user?.pid).map(openerWords);
    return others.length > 0 ? `${name}, opened by ${others.join(', ')}` : name;
  });
  if (open.length > MOST) words.push(`${open.length - MOST} more`);
  return `Of its devices ${words.join('; ')} ${open.length === 1 ? 'is' : 'are'} open`;
}
