import { isNeverOpened } from '../engine/conditions.ts';
import { createRefusalOf, isRefusedDespiteOffer, offerAfter } from '../engine/create-refusal.ts';
import { ENOSPC, EPERM, EUSERS, errnoName } from '../engine/errno.ts';
import type { MemoryDeclaration } from '../engine/memory.ts';
import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { reportAnswered } from '../engine/waiting.ts';
import { inParens, inWords, longTime, plural, who } from '../engine/words.ts';
import { POINT } from '../events/wire.gen.ts';
import type { Device, Parent } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { offers } from '../scenario/mdev.ts';
import { SECOND } from '../units.ts';

/** How many refusals of one parent wait for the answer of sysfs; more are reported without it. */
const MOST_WAITING = 64;
/** How many devices that were never opened a message names. */
const NAMED = 5;
/** A driver may give an instance back late, and no event shows it; ns. */
const ASK_AGAIN = 10 * SECOND;

export const instancesExhausted: Rule = {
  id: 'instances-exhausted',
  title: 'A parent has no more mdev instances',
  severity: 'info',
  severityVaries: 'An error when a parent without devices offers fewer instances than it once did.',
  description:
    'A process requested one more mdev than the parent can provide; the kernel refused with ' +
    'EUSERS, or its driver with ENOSPC. Types of one parent may share instances, so one of ' +
    'them can be used up without having a device. Worse is an instance that is never given ' +
    'back: a parent whose devices are all gone, and which offers fewer than when it had none ' +
    'before. Its driver lost count, and after some more devices nothing can be created on it.',
  remediation:
    'Compare the devices of the parent with those that are meant to run, and remove what is ' +
    'left over. If the parent has lost instances, unbind and bind it: a driver that counts its instances when ' +
    'it is bound has them back then. Find ' +
    "out which of its devices ended unusually, and report it to the driver's vendor.",
  references:
    'available_instances in Documentation/driver-api/vfio-mediated-device.rst, and its use in ' +
    'mdev_device_create() and mdev_device_release() since Linux 6.1',
  evidence:
    'Who requested the device, what the kernel returned, and the devices that were never opened; or what the parent offered when, ' +
    'of which type.',
  occurrences: 'the parent, the type and the errno, whatever UUIDs were asked for',
  blindSpot:
    'A lost instance while a parent of the driver has devices, and any lost instance in a replay.',
  provocation: {
    by: 'user',
    how:
      'One device more is created than its parent offers; and, with a driver that keeps the ' +
      'instance of a removed device, all are removed.',
  },
  basis: 'event',
  needs: ['mdev.probe', 'mdev.remove', 'mdev.remove_child'],
  on: {
    'mdev.create:end': checkCreation,
    'mdev.release:begin'({ event, device }, { memory }) {
      if (device?.parent) memory(ACCOUNTS).of(device.parent).changedAt = event.time;
    },
  },
  onClock(context) {
    reportAnswered(
      context.memory(WAITING),
      (device) => offerAfter(device, context) === false,
      (device) => reportRefusal(device, context),
    );
    // The instances of devices in use are not missing, so all devices have to be known.
    if (context.world.isUnverified || !context.host.availableInstances) return;
    const busy = busyDrivers(context.world);
    for (const parent of context.world.parents) {
      if (parent.state === 'registered' && !busy.has(parent.driver)) compare(parent, context);
    }
  },
  examples: {
    fires: [
      {
        title: 'the kernel has counted them all out',
        run(scenario) {
          const parent = scenario.parent();
          scenario.create(parent);
          scenario.createFails(parent, EUSERS);
        },
      },
      {
        title: 'devices that nobody has opened occupy the instances',
        run(scenario) {
          const parent = scenario.parent();
          scenario.open(scenario.create(parent), { vm: scenario.createVm() });
          for (let i = 0; i < 7; i++)
            scenario.create(parent, { as: { pid: 700 + i, comm: 'lxd' } });
          scenario.wait(3600);
          scenario.createFails(parent, EUSERS);
        },
      },
      {
        title: 'the driver has no instance left',
        run(scenario) {
          scenario.createFails(scenario.parent(), ENOSPC);
        },
      },
      {
        title: 'a driver that reports it with EPERM',
        run(scenario) {
          scenario.createFails(scenario.parent({ name: 'matrix', driver: 'vfio_ap' }), EPERM);
        },
      },
      {
        title: 'the instance of a removed device stays taken',
        run(scenario) {
          const parent = scenario.parent();
          offers(scenario, parent, { 'mtty-1': 24, 'mtty-2': 12 });
          scenario.wait(5);
          scenario.remove(scenario.create(parent));
          offers(scenario, parent, { 'mtty-1': 23, 'mtty-2': 11 });
          scenario.wait(5);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'created and removed many times, and all instances are given back',
        run(scenario) {
          const parent = scenario.parent();
          offers(scenario, parent, { 'mtty-1': 24 });
          for (let i = 0; i < 3; i++) {
            scenario.wait(5);
            scenario.remove(scenario.create(parent));
          }
          scenario.wait(5);
        },
      },
      {
        title: 'a device takes an instance that two types share',
        run(scenario) {
          const parent = scenario.parent();
          offers(scenario, parent, { 'mtty-1': 24, 'mtty-2': 12 });
          scenario.wait(5);
          const device = scenario.create(parent);
          offers(scenario, parent, { 'mtty-1': 23, 'mtty-2': 11 });
          scenario.wait(5);
          scenario.remove(device);
          offers(scenario, parent, { 'mtty-1': 24, 'mtty-2': 12 });
          scenario.wait(5);
        },
      },
      {
        title: 'another parent of the driver has the device, and both share instances',
        run(scenario) {
          const [first, second] = [scenario.parent(), scenario.parent({ name: 'mtty-b' })];
          offers(scenario, first, { 'mtty-1': 24 });
          scenario.wait(5);
          const [one, other] = [scenario.create(first), scenario.create(second)];
          scenario.remove(one);
          offers(scenario, first, { 'mtty-1': 23 });
          scenario.wait(5);
          scenario.remove(other);
          offers(scenario, first, { 'mtty-1': 24 });
          scenario.wait(5);
        },
      },
      {
        title: 'a device was being created when the parent was asked',
        run(scenario) {
          const parent = scenario.parent();
          offers(scenario, parent, { 'mtty-1': 24 });
          scenario.wait(5);
          scenario.remove(scenario.create(parent));
          scenario.wait(1);
          offers(scenario, parent, { 'mtty-1': 23 });
          scenario.wait(1);
          const device = scenario.create(parent);
          scenario.wait(3);
          scenario.remove(device);
          offers(scenario, parent, { 'mtty-1': 24 });
          scenario.wait(5);
        },
      },
      {
        title: 'an instance is given back shortly after its device',
        run(scenario) {
          const parent = scenario.parent();
          offers(scenario, parent, { 'mtty-1': 24 });
          scenario.wait(5);
          scenario.remove(scenario.create(parent));
          offers(scenario, parent, { 'mtty-1': 23 });
          scenario.wait(1);
          offers(scenario, parent, { 'mtty-1': 24 });
          scenario.wait(5);
        },
      },
      {
        title: 'a parent that offers more than before, and a type that it no longer offers',
        run(scenario) {
          const parent = scenario.parent();
          offers(scenario, parent, { 'mtty-1': 24, 'mtty-2': 12 });
          scenario.wait(5);
          scenario.remove(scenario.create(parent));
          offers(scenario, parent, { 'mtty-1': 32 });
          scenario.wait(5);
        },
      },
      {
        title: 'the driver has no space, although sysfs offers one more: that is create-failed',
        also: ['create-failed'],
        run(scenario) {
          const parent = scenario.parent();
          offers(scenario, parent, { 'mtty-1': 1 });
          scenario.probeFails(scenario.createEnters(parent), ENOSPC);
        },
      },
      {
        title: 'a creation refused for another reason, EPERM of another driver included',
        also: ['create-failed'],
        run(scenario) {
          const parent = scenario.parent();
          for (const errno of [EPERM, 12, 22]) scenario.createFails(parent, errno);
        },
      },
    ],
  },
};

/** Refused devices of a parent for which sysfs has not said yet whether it offers one after all. */
const WAITING: MemoryDeclaration<Parent, Device[]> = { initial: () => [] };

function checkCreation({ event, device, parent }: ObservedTransition, context: RuleContext): void {
  const { memory } = context;
  if (parent) memory(ACCOUNTS).of(parent).changedAt = event.time;
  if (event.ret >= 0 || !device || createRefusalOf(device) !== 'no instance') return;
  if (parent && offerAfter(device, context) === false) {
    const waiting = memory(WAITING).of(parent);
    if (waiting.length < MOST_WAITING) {
      waiting.push(device);
      return;
    }
  }
  reportRefusal(device, context);
}

/** Leaves it to create-failed if sysfs offers what the driver refused. */
function reportRefusal(device: Device, context: RuleContext): void {
  if (isRefusedDespiteOffer(device, offerAfter(device, context) || undefined)) return;
  const { parent } = device;
  context.report({
    device,
    others: neverOpenedOn(parent, context.world).slice(0, NAMED),
    task: device.creator,
    sameAs: `${device.parentName} ${device.type} ${device.createError}`,
    message:
      `${who(device.creator)} asked ${device.parentName} for another ${device.type}, and was refused ` +
      `with ${errnoName(device.createError)}: no instance is left. ` +
      `That parent has ${plural(parent?.devices.size ?? 0, 'device')}${neverOpenedWords(parent, context)}.`,
  });
}

/** Devices of a parent that nobody has opened since they were created, those of the longest time first. */
function neverOpenedOn(parent: Readonly<Parent> | undefined, world: World): Device[] {
  return [...(parent?.devices ?? [])].filter(
    (device) => isNeverOpened(device) && world.qualityOf(device) === 'observed',
  );
}

/** ", of which 3 were never opened: UUID (created by lxd (pid 7) 4 h ago), …"; empty when none is left over */
function neverOpenedWords(
  parent: Readonly<Parent> | undefined,
  { world, now }: RuleContext,
): string {
  const never = neverOpenedOn(parent, world);
  if (never.length === 0) return '';
  const named = never
    .slice(0, NAMED)
    .map(
      ({ name, creator, createdAt }) =>
        `${name} (created by ${who(creator)} ${longTime(now - createdAt)} ago)`,
    );
  if (never.length > NAMED) named.push(`${never.length - NAMED} more`);
  const were = never.length === 1 ? '1 was' : `${never.length} were`;
  return `, of which ${were} never opened: ${inWords(named)}`;
}

/** What a parent offered, and when it was asked. */
interface Account {
  /** When a device was created or freed; ns. */
  changedAt: number;
  askedAt: number;
  isAnswered: boolean;
  /** What it offered when it first had no device. */
  first: ReadonlyMap<string, number> | undefined;
  /** The last answer was less than {@link first}. */
  isMissing: boolean;
}

const ACCOUNTS: MemoryDeclaration<Parent, Account> = {
  initial: ({ firstSeen }) => ({
    changedAt: firstSeen,
    askedAt: 0,
    isAnswered: false,
    first: undefined,
    isMissing: false,
  }),
};

/** Drivers that have devices, or are setting some up: their parents may share instances. */
function busyDrivers(world: World): Set<string> {
  const busy = new Set<string>();
  for (const parent of world.parents) if (parent.devices.size > 0) busy.add(parent.driver);
  for (const { parent } of world.calls.at(POINT.MDEV_CREATE)) if (parent) busy.add(parent.driver);
  return busy;
}

/**
 * Compares what a parent without devices offers with what it first offered. It is asked once after it
 * lost its last device, and again while it has not answered or an instance is missing. The answer counts at the next
 * tick, unless an event has shown by then that a device was being created.
 */
function compare(
  parent: Parent,
  { host, now, thresholds, memory, report, resolve }: RuleContext,
): void {
  const account = memory(ACCOUNTS).of(parent);
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
    ongoing: true,
    message:
      `${parent.name} has no device, and offers less than when it first had none: ${missing}. Its ` +
      `driver${inParens(parent.driver)} has not taken back the instance of a removed device.`,
  });
}

function isToBeAsked(account: Account, now: number, grace: number): boolean {
  const { changedAt, askedAt, isAnswered, isMissing } = account;
  if (askedAt <= changedAt) return now - changedAt >= grace;
  // A driver that was too slow to answer may answer later.
  return (isMissing || !isAnswered) && now - askedAt >= ASK_AGAIN;
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
