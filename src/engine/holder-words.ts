/** Sentences about who keeps a device, made of the attribution of the same violation. */

import type { Host } from '../events/host.ts';
import type { Cdev, Device } from '../lifecycle/objects.ts';
import { OWNERS_LAST } from './holders.ts';
import type { RuleContext } from './rule.ts';
import type { Attribution, Holder } from './violation.ts';
import { isLockWait, waitWords } from './wait-cycle.ts';
import { driverWords, hadIt, inWords, ofGuest, seconds, who } from './words.ts';

/** So many holders are named in a sentence; the violation has all of them. */
const MOST_NAMED = 3;

type Holders = readonly Holder[];

/** "is still held open by qemu (pid 12)", for a sentence whose subject is the device. */
export function heldOpen(device: Device, holders: Holders, now: number): string {
  const own = holders.filter((holder) => holder.device === device.name || !holder.device);
  const users = own.filter(({ how, holds }) => how !== 'may hold' && holds !== 'group');
  const opening = users.filter(({ how }) => how === 'opening');
  const closing = users.filter(({ how }) => how === 'closing');
  const sure = users.filter(({ how }) => how === 'opened' || how === 'holds' || how === 'exiting');
  const former = users.filter(
    (one) =>
      !opening.includes(one) &&
      !closing.includes(one) &&
      // Whoever has opened the device twice, or duplicated its descriptor, is among them, too.
      !sure.some(({ task }) => task.pid === one.task.pid),
  );
  const perhaps = own.filter(({ how, holds }) => how === 'may hold' && holds !== 'group');
  if (sure.length > 0) {
    const others = former.length > 0 ? `; ${named(former, formerWords)}` : '';
    // The file of a former holder is still open, so somebody has it, too.
    const heirs =
      former.length > 0 && perhaps.length > 0
        ? `, and that file may be held by ${named(perhaps, holderOf)}`
        : '';
    return `is still held open by ${named(sure, holderOf)}${others}${heirs}`;
  }
  if (opening.length > 0) {
    return `is still being opened by ${named(opening, openerOf(device, now))}`;
  }
  if (closing.length > 0)
    return `is still being closed by ${named(closing, closerOf(device, now))}`;
  const before =
    former.length > 0
      ? `is still open, but ${named(former, formerWords)}`
      : 'is still open, and was opened before the agent started or unobserved';
  if (perhaps.length === 0) return `${before}; which process has it now is not known`;
  const probably = perhaps.length === 1 ? 'it is probably held by' : 'it may be held by any of';
  return `${before}; ${probably} ${named(perhaps, holderOf)}`;
}

/**
 * Why the removal of a device waits that nobody has open: "nobody has it open, but …". Only a cdev that
 * is not bound, or on some kernels the device's group in a container, may keep it registered.
 */
export function keptRegistered(
  device: Device,
  holders: Holders,
  { world, host, now }: Pick<RuleContext, 'world' | 'host' | 'now'>,
): string {
  const cdevs = holders.filter(({ holds }) => holds === 'cdev');
  const unbound = device.cdevs.find(({ state }) => state === 'unbound');
  if (unbound) return `it is not open for DMA, but ${heldUnbound(unbound, cdevs, now)}`;
  const groups = holders.filter(({ holds }) => holds === 'group');
  if (cdevs.length > 0)
    return `it is not open for DMA, but ${haveCdev(cdevs)} its cdev open, which keeps it registered until that is closed`;
  if (groups.length > 0 && host.traits.removalWaitsForGroup) {
    return (
      `nobody has it open, but ${named(groups, whoHolds)} ${have(groups)} its group ${device.groupId} open, so it ` +
      'probably waits until that group is in no container'
    );
  }
  const group = host.traits.removalWaitsForGroup ? world.groups.get(device.groupId) : undefined;
  const since = Math.max(now - OWNERS_LAST, device.unregisterBegan, group?.userSince ?? 0);
  if (host.fileOwners?.(since) === undefined)
    return 'nobody was observed to have it open, so what keeps it registered is not known';
  if (group?.user) {
    return (
      `nobody has it open, but its group ${group.id} was not closed: ${who(group.user)}, ` +
      `${hadIt(group.openedAt)}, has it no more, and no process is seen to have a descriptor of it, ` +
      'so it probably waits until that group is in no container'
    );
  }
  // A host snapshot does not find a file that no process has.
  if (world.qualityOf(device) !== 'observed') {
    return (
      'no process has it or its cdev open, but opens of it may not have been observed: a file of it may be in ' +
      'a socket or kept by a VM, and the wait ends when that is closed, or its driver ' +
      `${driverWords(device)} took a reference on its registration and did not put it`
    );
  }
  return (
    'nobody has it or its cdev open, so a reference on its registration was probably taken and never ' +
    `put, which is a fault of its driver ${driverWords(device)}; only a reboot ends that`
  );
}

/** Who opened a cdev that is not bound and when, and who has it now, if that is another. */
export function heldUnbound(
  { opener, openedAt, adopted }: Cdev,
  cdevs: Holders,
  now: number,
): string {
  const others = cdevs.filter(({ task }) => adopted || task.pid !== opener.pid);
  const opened = adopted
    ? 'its cdev is open, and was opened before the agent started or unobserved'
    : `${who(opener)} opened its cdev ${seconds(now - openedAt)} ago`;
  const also = others.length < cdevs.length ? ', too' : ' now';
  const holds = others.length > 0 ? `; ${haveCdev(others)} it${also}` : '';
  return `${opened}, and it is bound to no iommufd, but keeps the device registered until it is closed${holds}`;
}

/** A sentence for each holder that waits itself, else nothing. */
export function stuckHolders({ holders, blocked }: Attribution, { traits }: Host): string {
  const andGroup = traits.removalWaitsForGroup ? ' and its group' : '';
  const stuck = holders.filter(({ inKernel }) => inKernel !== undefined);
  const sentences = new Set(
    stuck.slice(0, MOST_NAMED).map((holder) => {
      const { task, inKernel } = holder;
      const where = inKernel ? waitWords(inKernel) : '';
      if (blocked && inKernel && isLockWait(inKernel)) {
        return (
          ` ${who(task)} itself waits${where} for the lock of a device, which ${who(blocked.task)} ` +
          'probably holds: they wait for each other, and killing either does not end that. Only if ' +
          `another thread of the holder closes the device${andGroup} does it end, else by a reboot.`
        );
      }
      return (
        ` A thread of ${who(task)} is blocked itself${where}, and no signal wakes it: find out ` +
        'what it waits for before you kill anything.'
      );
    }),
  );
  return [...sentences].join('');
}

function named(holders: Holders, words: (holder: Holder) => string): string {
  const names = [...new Set(holders.map(words))];
  const more = names.length - MOST_NAMED;
  if (more <= 0) return inWords(names);
  return `${names.slice(0, MOST_NAMED).join(', ')} and ${more} more`;
}

/** "a and b have", "probably c has": those who have a cdev of the device for certain, if there are any. */
function haveCdev(cdevs: Holders): string {
  const sure = cdevs.filter(({ how }) => how === 'holds');
  return sure.length > 0
    ? `${named(sure, whoHolds)} ${have(sure)}`
    : `probably ${named(cdevs, whoHolds)} ${have(cdevs)}`;
}

function have(holders: Holders): 'has' | 'have' {
  return new Set(holders.map(whoHolds)).size > 1 ? 'have' : 'has';
}

function whoHolds({ task }: Holder): string {
  return who(task);
}

function holderOf({ task, holds, how, vm }: Holder): string {
  if (how === 'holds' || how === 'opened') {
    if (holds === 'device') return `${who(task)}${ofGuest(vm)}`;
  }
  if (how === 'exiting') return `${who(task)}, which is exiting`;
  if (holds === 'mapping') return `${who(task)} by a memory mapping`;
  if (holds === 'cdev') return `${who(task)} by a device cdev`;
  return how === 'may hold' ? `${who(task)}, which has a device file` : who(task);
}

function formerWords({ task, how, since }: Holder): string {
  const process = `${who(task)}, ${hadIt(since)},`;
  if (how === 'gone') return `${process} is gone`;
  return `${process} has ${how === 'passed on' ? 'passed it on' : 'closed its descriptor'}`;
}

function openerOf({ opens }: Device, now: number): (holder: Holder) => string {
  return ({ task }) => {
    const open = opens.find((one) => one.state === 'opening' && one.task.tid === task.tid);
    const began = open ? open.requestedAt || open.firstSeen : 0;
    const ago = began > 0 ? ` began ${seconds(now - began)} ago and` : '';
    return `${who(task)}, whose call that opens it${ago} has not returned`;
  };
}

function closerOf({ opens }: Device, now: number): (holder: Holder) => string {
  return ({ task, fd, since }) => {
    const began = opens.find((open) => open.fd === fd && open.openedAt === since)?.closeBegan ?? 0;
    const ago = began > 0 ? ` began ${seconds(now - began)} ago and` : '';
    return `${who(task)}, whose call that closes it${ago} has not returned from the driver`;
  };
}
