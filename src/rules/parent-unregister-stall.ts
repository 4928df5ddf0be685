import { heldOpen, stuckHolders } from '../engine/holder-words.ts';
import type { Rule } from '../engine/rule.ts';
import { STALL_SEVERITY, stallSeverity } from '../engine/stall.ts';
import type { Holder } from '../engine/violation.ts';
import {
  createdByAnother,
  deviceWords,
  inParens,
  seconds,
  secondsSince,
  who,
} from '../engine/words.ts';
import type { Host } from '../events/host.ts';
import { POINT } from '../events/wire.gen.ts';
import type { Device, Parent } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { childRemovalBegins, childRemovalEnds } from '../scenario/mdev.ts';

export const parentUnregisterStall: Rule = {
  id: 'parent-unregister-stall',
  title: 'The unregistration of a parent is blocked',
  severity: 'warning',
  severityVaries: STALL_SEVERITY,
  description:
    'A process that unloads the driver of a parent, or unbinds the parent from it, removes all ' +
    'its mdevs, one after the other, and waits for creations and removals that were in ' +
    'progress. Here one of them does not end: mostly a device that a process has open, else a ' +
    'slow driver. Meanwhile every creation and removal on that parent is refused, a refused ' +
    'removal loses its `remove` file, and the unloading process cannot be killed.',
  remediation:
    'Stop the process that has the device open, or unplug the device from its VM; the message ' +
    'names what it waits for. Then read the message again: the next device may be open as well. If it waits for a driver, check ' +
    'where that blocks in the kernel, and report it. Next time, remove the devices before you ' +
    'unload the driver.',
  references:
    'vfio/mdev: Synchronize device create/remove with parent removal (Parav Pandit, May 2019); ' +
    'mdev_unregister_parent() in drivers/vfio/mdev/mdev_core.c, which holds unreg_sem',
  evidence:
    'Who unregisters the parent, since when and where in the kernel, who has its devices open, ' +
    'and which creation or removal it waits for; with the events of the device that is held ' +
    'open.',
  blindSpot:
    "A driver's own unbind that hangs before it unregisters its parent. Of an unregistration that began " +
    'before the agent: which of several parents of a driver it is, if nothing in /proc or sysfs shows it.',
  provocation: {
    by: 'driver',
    how:
      'A driver is unloaded while it sets a device up that takes seconds; on 5.10, also while ' +
      'a process has one of its devices open.',
  },
  basis: 'state',
  needs: ['mdev.create', 'mdev.probe', 'mdev.unbind', 'vfio.unregister', 'vfio.device.open'],
  on: {
    'mdev.parent.unregister:end'({ parent, duration }, { thresholds, resolve, conclude }) {
      if (!parent) return;
      const threshold = thresholds.parentUnregisterStall;
      if (duration < threshold) {
        resolve(parent);
        return;
      }
      conclude({
        parent,
        task: parent.remover,
        ongoing: true,
        severity: stallSeverity(duration, threshold),
        message: `The unregistration of ${parent.name} by ${who(parent.remover)} took ${seconds(duration)}.`,
      });
    },
  },
  onClock({ world, host, now, thresholds, report, resolve }) {
    for (const parent of world.parents) {
      // Without the begin of the unregistration it is not known since when it waits.
      if (parent.state !== 'unregistering' || parent.unregisterBegan === 0) continue;
      const waited = now - parent.unregisterBegan;
      if (waited < thresholds.parentUnregisterStall) continue;
      if (hasReturned(parent, host)) {
        resolve(parent);
        continue;
      }
      const kept = [...parent.devices].find(({ isWaiting }) => isWaiting);
      report({
        parent,
        others: kept ? [kept] : [],
        task: parent.remover,
        blocked: parent.remover,
        ongoing: true,
        severity: stallSeverity(waited, thresholds.parentUnregisterStall),
        message: (attribution) =>
          `${who(parent.remover)} has been unregistering ${parentWords(parent)} for ` +
          `${secondsSince(waited, parent.unregisterKnownBy === 'begin')}: ` +
          `${awaited(parent, kept, world, now, attribution.holders)}.` +
          `${stuckHolders(attribution, host)}${kept ? createdByAnother(kept, host) : ''}`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'one of its devices is open',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          scenario.open(device, { vm: scenario.createVm() });
          childRemovalBegins(scenario, scenario.parentUnregisterBegins(parent), device);
          scenario.wait(6);
        },
      },
      {
        title: 'the driver is slow to set a device up',
        run(scenario) {
          const parent = scenario.parent();
          scenario.createBegins(parent, { as: { pid: 700, comm: 'mdevctl' } });
          scenario.parentUnregisterBegins(parent);
          scenario.wait(6);
        },
      },
      {
        title: 'it ends between two ticks, after longer than the threshold',
        run(scenario) {
          const parent = scenario.parent();
          const unregistering = scenario.parentUnregisterBegins(parent);
          scenario.pass(5.5);
          scenario.parentUnregisterEnds(unregistering);
        },
      },
      {
        title: 'a removal that began before waits for an opener',
        also: ['remove-stall'],
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.parentUnregisterBegins(parent);
          scenario.wait(61);
        },
      },
    ],
    doesNotFire: [
      {
        title: 'the opener closes it in time',
        run(scenario) {
          const parent = scenario.parent();
          const device = scenario.create(parent);
          const open = scenario.open(device, { vm: scenario.createVm() });
          const unregistering = scenario.parentUnregisterBegins(parent);
          childRemovalBegins(scenario, unregistering, device);
          scenario.wait(4);
          scenario.close(open);
          childRemovalEnds(scenario, unregistering, device);
          scenario.parentUnregisterEnds(unregistering);
          scenario.wait(9);
        },
      },
      {
        title: 'a creation is slow, and nobody unregisters the parent',
        run(scenario) {
          const creation = scenario.createBegins(scenario.parent());
          scenario.wait(9);
          scenario.createEnds(creation);
        },
      },
      {
        title: 'a single removal waits: that is remove-stall',
        also: ['remove-stall'],
        run(scenario) {
          const device = scenario.create(scenario.parent());
          scenario.open(device, { vm: scenario.createVm() });
          scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          scenario.wait(12);
        },
      },
    ],
  },
};

function parentWords({ name, unregisterKnownBy }: Parent): string {
  return unregisterKnownBy === 'elimination' ? `a parent, probably ${name},` : name;
}

/** Whether an unregistration is over of which no event shows the end, because its begin was not observed. */
function hasReturned({ remover, unregisterKnownBy, unregisterBegan }: Parent, host: Host): boolean {
  if (unregisterKnownBy === 'begin' || !remover) return false;
  return host.isAlive?.(remover.pid, unregisterBegan) === false;
}

/** What its unregistration waits for. @param now ns on the boot-time clock */
function awaited(
  parent: Parent,
  kept: Device | undefined,
  world: World,
  now: number,
  holders: readonly Holder[],
): string {
  if (kept) return `it waits for ${deviceWords(kept)}, which ${heldOpen(kept, holders, now)}`;
  let leaving: Device | undefined;
  for (const device of parent.devices) {
    const isLeaving = device.state === 'removing' && device.unbindBegan > 0;
    if (isLeaving && device.removedAt === 0) leaving ??= device;
  }
  for (const { device } of world.calls.at(POINT.MDEV_CREATE)) {
    if (device?.parent !== parent) continue;
    return (
      `it waits for ${who(device.creator)} to finish creating ${deviceWords(device)}, which has taken ` +
      `${seconds(now - device.createBegan)}; the driver${inParens(parent.driver)} sets it up`
    );
  }
  if (!leaving) return 'what it waits for was not observed';
  return (
    `it waits for ${deviceWords(leaving)} to be torn down, for ` +
    `${seconds(now - leaving.unbindBegan)}; nobody is known to have it open`
  );
}
