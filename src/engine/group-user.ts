/** Who has a VFIO group open: only one process at a time can. */
import type { FileOwner } from '../events/host.ts';
import type { Task } from '../events/task.ts';
import type { Device, Group } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import type { ObjectMemory } from './memory.ts';
import type { RuleContext } from './rule.ts';
import { reportAnswered } from './waiting.ts';
import { hadIt, inWords, openerWords, seconds, vmWords, who } from './words.ts';

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
  /** When {@link user} is known to have had it first, ns on the boot-time clock. */
  readonly userSince: number;
  /** Which of its devices were open, as a sentence without its full stop. */
  readonly devices: string;
}

export function busyGroup(group: Group, task: Task, at: number, world: World): BusyGroup {
  const { id, user, openedAt, userSince } = group;
  const devices = devicesWords(group, world);
  return { id, group, at, task, user, openedAt, userSince, devices };
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
  if (user) return `${ownerWords(busy, user, owners, context)}. ${devices}`;
  if (owners && owners.length > 0) return `${haveIt(owners)}. ${devices}`;
  const { deviceFileKeepsGroup, devicesHaveCdevs } = context.host.traits;
  return (
    `it is already open${devicesHaveCdevs ? ', or a device of it is bound to an iommufd by its cdev' : ''}. ` +
    'A group can be open only once at a time' +
    (deviceFileKeepsGroup === false ? ', and not while a device file keeps its container' : '')
  );
}

/** An open was observed, which may have been by a process that has passed the file on since. */
function ownerWords(
  busy: BusyGroup,
  user: Task,
  owners: readonly FileOwner[] | undefined,
  context: RuleContext,
): string {
  const { at, task, openedAt, userSince } = busy;
  const ago = openedAt > 0 ? ` ${seconds(at - openedAt)} before` : '';
  if (!owners) {
    const had = openedAt > 0 ? `opened it${ago}` : 'had it open when the agent first looked';
    return `${who(user)} ${had}, and it was not closed in between`;
  }
  const opener = `${hadIt(openedAt)}${ago},`;
  if (owners.some(({ pid, startedAt }) => pid === user.pid && startedAt <= userSince))
    return `${user.pid === task.pid ? 'the same process' : who(user)}, ${opener} has it open`;
  const isGone = context.host.isAlive?.(user.pid, userSince) === false;
  // Whoever has it now may have had it before the agent found it in another process.
  const lost = openedAt > 0 && owners.length > 0 ? 'has passed it on' : 'has it no more';
  const former = `${who(user)}, ${opener} ${isGone ? 'is gone' : lost}`;
  return owners.length > 0
    ? `${former}: ${haveIt(owners)}`
    : `${former}, and ${keptWords(busy, context)}`;
}

/** A file that no process has a descriptor of is on its way through a socket, or the kernel keeps it. */
function keptWords({ group }: BusyGroup, { host }: RuleContext): string {
  const open = host.traits.deviceFileKeepsGroup
    ? group.devices.filter(({ isOpen }) => isOpen).map(({ name }) => name)
    : [];
  const keepers = [
    ...(open.length > 0 ? [`the open file of ${inWords(open.slice(0, MOST))}`] : []),
    ...(group.vm && !group.vm.isGone ? [`${vmWords(group.vm)}, for which it was set`] : []),
  ];
  return keepers.length > 0
    ? `no process has a descriptor of it: it is kept open by ${keepers.join(', or by ')}`
    : 'which process has it now is not known';
}

/** "qemu (pid 12) has it open" */
function haveIt(owners: readonly FileOwner[]): string {
  const names = owners.slice(0, MOST).map(who);
  if (owners.length > MOST) names.push(`${owners.length - MOST} more`);
  return `${inWords(names)} ${owners.length > 1 ? 'have' : 'has'} it open`;
}

function devicesWords({ devices, user }: Group, world: World): string {
  const open = devices.filter(({ opens, openCount }) => opens.length > 0 || openCount > 0);
  if (open.length === 0) {
    // A file that was in no process when the agent started may be one of them.
    const isSure = devices.every((device) => world.qualityOf(device) === 'observed');
    return `Only the group is ${isSure ? '' : 'known to be '}open, and none of its devices`;
  }
  const words = open.slice(0, MOST).map(({ name, opens }) => {
    const others = opens.filter(({ task }) => task.pid !== user?.pid).map(openerWords);
    return others.length > 0 ? `${name}, opened by ${others.join(', ')}` : name;
  });
  if (open.length > MOST) words.push(`${open.length - MOST} more`);
  return `Of its devices ${words.join('; ')} ${open.length === 1 ? 'is' : 'are'} open`;
}
