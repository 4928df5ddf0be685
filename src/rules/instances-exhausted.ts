import type { Moment } from '../lifecycle/moment.ts';
import type { Device, Parent } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { ENOSPC, EPERM, EUSERS, errnoName } from './errno.ts';
import { type Rule, type RuleContext, SECOND } from './rule.ts';
import { offers } from './story-mdev.ts';
import { who } from './words.ts';

/** Before 6.1 these refused with EPERM when they had no more to give. */
const EPERM_IS_CAPACITY = new Set(['vfio_ap', 'vfio_ccw']);
/** A driver may give a place back late, and nothing else tells of it. */
const ASK_AGAIN = 10 * SECOND;

export const instancesExhausted: Rule = {
  id: 'instances-exhausted',
  title: 'A parent has no more devices to give',
  severity: 'info',
  severityVaries: 'An error when a parent without devices offers less than it once did.',
  meaning:
    'Somebody asked a parent for one more mdev than it can give; the kernel refused with EUSERS, or ' +
    'its driver with ENOSPC. Types of one parent may share what there is, so one of them can be used ' +
    'up without having a device. Worse is a place that is never given back: a parent whose devices ' +
    'are all gone, and which offers less than when it had none before. Its driver lost count, and ' +
    'after some more lives nothing can be created on it.',
  advice:
    'Compare the devices of the parent with what is meant to run, and remove what is left over. If the ' +
    'parent has lost places, look which of its devices came to an unusual end, report it to the maker ' +
    'of the driver, and unbind and bind the parent to get them back.',
  origin:
    'available_instances in Documentation/driver-api/vfio-mediated-device.rst, and its use in ' +
    'mdev_device_create() and mdev_device_release() since Linux 6.1',
  evidence:
    'Who asked and what the kernel returned; or what the parent offered when, of which type.',
  provocation: {
    by: 'user',
    how:
      'One device more is created than its parent offers; and, with a driver that keeps the place of ' +
      'a removed device, all are removed.',
  },
  basis: 'event',
  needs: ['mdev.probe', 'mdev.remove', 'mdev.remove_child'],
  on: {
    'mdev.create:end': checkCreation,
    'mdev.release:begin'({ event, device }) {
      if (device?.parent) accountOf(device.parent).changedAt = event.time;
    },
  },
  onClock(context) {
    // What a device in use takes is not missing, so all of them have to be known.
    if (context.world.isTainted || !context.host.availableInstances) return;
    const busy = busyDrivers(context.world);
    for (const parent of context.world.parents) {
      if (parent.state === 'registered' && !busy.has(parent.driver)) compare(parent, context);
    }
  },
  examples: {
    fires: [
      {
        title: 'the kernel has counted them all out',
        tell(story) {
          const parent = story.parent();
          story.create(parent);
          story.createFails(parent, EUSERS);
        },
      },
      {
        title: 'the driver has no place left',
        tell(story) {
          story.createFails(story.parent(), ENOSPC);
        },
      },
      {
        title: 'a driver that says so with EPERM',
        tell(story) {
          story.createFails(story.parent({ name: 'matrix', driver: 'vfio_ap' }), EPERM);
        },
      },
      {
        title: 'the place of a removed device stays taken',
        tell(story) {
          const parent = story.parent();
          offers(story, parent, { 'mtty-1': 24, 'mtty-2': 12 });
          story.wait(5);
          story.remove(story.create(parent));
          offers(story, parent, { 'mtty-1': 23, 'mtty-2': 11 });
          story.wait(5);
        },
      },
    ],
    silent: [
      {
        title: 'created and removed many times, and all places are given back',
        tell(story) {
          const parent = story.parent();
          offers(story, parent, { 'mtty-1': 24 });
          for (let i = 0; i < 3; i++) {
            story.wait(5);
            story.remove(story.create(parent));
          }
          story.wait(5);
        },
      },
      {
        title: 'a device takes from what two types share',
        tell(story) {
          const parent = story.parent();
          offers(story, parent, { 'mtty-1': 24, 'mtty-2': 12 });
          story.wait(5);
          const device = story.create(parent);
          offers(story, parent, { 'mtty-1': 23, 'mtty-2': 11 });
          story.wait(5);
          story.remove(device);
          offers(story, parent, { 'mtty-1': 24, 'mtty-2': 12 });
          story.wait(5);
        },
      },
      {
        title: 'another parent of the driver has the device, and both share what there is',
        tell(story) {
          const [first, second] = [story.parent(), story.parent({ name: 'mtty-b' })];
          offers(story, first, { 'mtty-1': 24 });
          story.wait(5);
          const [one, other] = [story.create(first), story.create(second)];
          story.remove(one);
          offers(story, first, { 'mtty-1': 23 });
          story.wait(5);
          story.remove(other);
          offers(story, first, { 'mtty-1': 24 });
          story.wait(5);
        },
      },
      {
        title: 'a device was being created when the parent was asked',
        tell(story) {
          const parent = story.parent();
          offers(story, parent, { 'mtty-1': 24 });
          story.wait(5);
          story.remove(story.create(parent));
          story.wait(1);
          offers(story, parent, { 'mtty-1': 23 });
          story.wait(1);
          const device = story.create(parent);
          story.wait(3);
          story.remove(device);
          offers(story, parent, { 'mtty-1': 24 });
          story.wait(5);
        },
      },
      {
        title: 'a place is given back a moment after its device',
        tell(story) {
          const parent = story.parent();
          offers(story, parent, { 'mtty-1': 24 });
          story.wait(5);
          story.remove(story.create(parent));
          offers(story, parent, { 'mtty-1': 23 });
          story.wait(1);
          offers(story, parent, { 'mtty-1': 24 });
          story.wait(5);
        },
      },
      {
        title: 'a parent that offers more than before, and a type that it offers no more',
        tell(story) {
          const parent = story.parent();
          offers(story, parent, { 'mtty-1': 24, 'mtty-2': 12 });
          story.wait(5);
          story.remove(story.create(parent));
          offers(story, parent, { 'mtty-1': 32 });
          story.wait(5);
        },
      },
      {
        title: 'a creation refused for another reason, EPERM of another driver included',
        tell(story) {
          const parent = story.parent();
          for (const errno of [EPERM, 12, 22]) story.createFails(parent, errno);
        },
      },
    ],
  },
};

function checkCreation({ event, device, parent }: Moment, { report }: RuleContext): void {
  if (parent) accountOf(parent).changedAt = event.time;
  if (event.ret >= 0 || !device || !isForCapacity(device, -event.ret)) return;
  const live = parent?.devices.size ?? 0;
  report({
    device,
    task: device.creator,
    says:
      `${who(device.creator)} asked ${device.parentName} for another ${device.type}, and was refused ` +
      `with ${errnoName(-event.ret)}: there is none left. ` +
      `${live === 1 ? 'One device lives' : `${live || 'No'} devices live`} on that parent.`,
  });
}

function isForCapacity({ driver }: Device, errno: number): boolean {
  if (errno === EUSERS || errno === ENOSPC) return true;
  return errno === EPERM && EPERM_IS_CAPACITY.has(driver);
}

/** What a parent offered, and when it was asked; kept as long as the parent. */
interface Account {
  /** When a device came or went; ns. */
  changedAt: number;
  askedAt: number;
  isAnswered: boolean;
  /** What it offered when it first had no device. */
  first: ReadonlyMap<string, number> | undefined;
  /** The last answer was less than that. */
  isMissing: boolean;
}

const accounts = new WeakMap<Parent, Account>();

function accountOf(parent: Parent): Account {
  let account = accounts.get(parent);
  if (!account) {
    account = {
      changedAt: parent.firstSeen,
      askedAt: 0,
      isAnswered: false,
      first: undefined,
      isMissing: false,
    };
    accounts.set(parent, account);
  }
  return account;
}

/** Drivers that have devices, or make some: their parents may share what there is. */
function busyDrivers(world: World): Set<string> {
  const busy = new Set<string>();
  for (const parent of world.parents) if (parent.devices.size > 0) busy.add(parent.driver);
  for (const { parent } of world.creating.values()) if (parent) busy.add(parent.driver);
  return busy;
}

/**
 * Compares what a parent without devices offers with what it first did. It is asked once after each
 * time that it had some, and now and then while something is missing. What it answers counts at the
 * next look at the clock, if no event has told by then that a device was on its way.
 */
function compare(parent: Parent, { host, now, thresholds, report, resolve }: RuleContext): void {
  const account = accountOf(parent);
  if (isToBeAsked(account, now, thresholds.grace)) {
    account.askedAt = now;
    account.isAnswered = false;
    host.availableInstances?.(parent.name, now);
    return;
  }
  if (account.isAnswered || account.askedAt <= account.changedAt) return;
  const answer = host.availableInstances?.(parent.name, account.askedAt);
  if (!answer) return;
  account.isAnswered = true;
  account.first ??= answer;
  const missing = missingIn(answer, account.first);
  account.isMissing = missing !== '';
  if (!account.isMissing) {
    resolve(parent);
    return;
  }
  report({
    parent,
    severity: 'error',
    lasting: true,
    says:
      `${parent.name} has no device, and offers less than when it first had none: ${missing}. Its ` +
      `driver (${parent.driver || 'unknown'}) has not taken back what a removed device had.`,
  });
}

function isToBeAsked({ changedAt, askedAt, isMissing }: Account, now: number, grace: number) {
  if (askedAt <= changedAt) return now - changedAt >= grace;
  return isMissing && now - askedAt >= ASK_AGAIN;
}

/** "23 of 24 mtty-1, 11 of 12 mtty-2"; empty when nothing is. */
function missingIn(
  answer: ReadonlyMap<string, number>,
  first: ReadonlyMap<string, number>,
): string {
  const missing: string[] = [];
  for (const [type, count] of first) {
    const left = answer.get(type);
    if (left !== undefined && left < count) missing.push(`${left} of ${count} ${type}`);
  }
  return missing.join(', ');
}
