import type { Device, Parent } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import { type Rule, SECOND } from './rule.ts';
import { childRemovalBegins, childRemovalEnds } from './story-mdev.ts';
import { createdByAnother, deviceWords, openers, seconds, who } from './words.ts';

/** A wait that long will hardly end by itself. */
const LONG = 60 * SECOND;

export const parentUnregisterStall: Rule = {
  id: 'parent-unregister-stall',
  title: 'The withdrawal of a parent waits',
  severity: 'warning',
  severityVaries: 'An error once it has waited for a minute: it will hardly end by itself.',
  meaning:
    'Whoever unloads the driver of a parent, or unbinds the parent from it, removes all its mdevs, one ' +
    'after the other, and waits for creations and removals that were under way. Here one of them does ' +
    'not end: mostly a device that somebody has open, else a driver that takes its time. Meanwhile ' +
    'every creation and removal on that parent is refused, a refused removal loses its `remove` file, ' +
    'and the unloading process cannot be killed.',
  advice:
    'The explanation names whom it waits for. Stop the process that has the device open, or unplug the ' +
    'device from its VM; the rest follows by itself. If it waits for a driver, look where that is in ' +
    'the kernel, and report it. Next time, remove the devices first and unload the driver then.',
  origin:
    'vfio/mdev: Synchronize device create/remove with parent removal (Parav Pandit, May 2019); ' +
    'mdev_unregister_parent() in drivers/vfio/mdev/mdev_core.c, which holds unreg_sem',
  evidence:
    'Who withdraws it, since when and where in the kernel, who has its devices open, and which creation ' +
    'or removal it waits for; with the events of the device that is held open.',
  provocation: {
    by: 'driver',
    how:
      'A driver is unloaded while it sets a device up that takes seconds; on 5.10, also while a process ' +
      'has one of its devices open.',
  },
  basis: 'state',
  needs: ['mdev.create', 'mdev.probe', 'mdev.unbind', 'vfio.unregister', 'vfio.device.open'],
  on: {
    'mdev.parent.unregister:end'({ parent }, { resolve }) {
      if (parent) resolve(parent);
    },
  },
  onClock({ world, host, now, thresholds, report }) {
    for (const parent of world.parents) {
      // Since when is not known of one whose withdrawal was not seen to begin.
      if (parent.state !== 'unregistering' || parent.unregisterBegan === 0) continue;
      const waited = now - parent.unregisterBegan;
      if (waited < thresholds.parentUnregisterStall) continue;
      const kept = [...parent.devices].find(({ isWaiting }) => isWaiting);
      report({
        parent,
        others: kept ? [kept] : [],
        task: parent.remover,
        blocked: parent.remover,
        lasting: true,
        severity: waited >= LONG ? 'error' : 'warning',
        says:
          `${who(parent.remover)} has been unregistering ${parent.name} for ${seconds(waited)}: ` +
          `${awaited(parent, kept, world, now)}.${kept ? createdByAnother(kept, host) : ''}`,
      });
    }
  },
  examples: {
    fires: [
      {
        title: 'one of its devices is open',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          story.open(device, { vm: story.createVm() });
          childRemovalBegins(story, story.parentUnregisterBegins(parent), device);
          story.wait(6);
        },
      },
      {
        title: 'the driver takes its time to set a device up',
        tell(story) {
          const parent = story.parent();
          story.createBegins(parent, { as: { pid: 700, comm: 'mdevctl' } });
          story.parentUnregisterBegins(parent);
          story.wait(6);
        },
      },
      {
        title: 'a removal that began before waits for an opener',
        also: ['remove-stall'],
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          story.parentUnregisterBegins(parent);
          story.wait(61);
        },
      },
    ],
    silent: [
      {
        title: 'the opener lets go in time',
        tell(story) {
          const parent = story.parent();
          const device = story.create(parent);
          const open = story.open(device, { vm: story.createVm() });
          const unregistering = story.parentUnregisterBegins(parent);
          childRemovalBegins(story, unregistering, device);
          story.wait(4);
          story.close(open);
          childRemovalEnds(story, unregistering, device);
          story.parentUnregisterEnds(unregistering);
          story.wait(9);
        },
      },
      {
        title: 'a creation takes its time, and nobody withdraws the parent',
        tell(story) {
          const creation = story.createBegins(story.parent());
          story.wait(9);
          story.createEnds(creation);
        },
      },
      {
        title: 'a single removal waits: that is remove-stall',
        also: ['remove-stall'],
        tell(story) {
          const device = story.create(story.parent());
          story.open(device, { vm: story.createVm() });
          story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
          story.wait(12);
        },
      },
    ],
  },
};

/** What its withdrawal waits for. @param now ns on the boot-time clock */
function awaited(parent: Parent, kept: Device | undefined, world: World, now: number): string {
  if (kept) return `it waits for ${deviceWords(kept)}, which is held open by ${openers(kept)}`;
  let leaving: Device | undefined;
  for (const device of parent.devices) {
    const isLeaving = device.state === 'removing' && device.unbindBegan > 0;
    if (isLeaving && device.removedAt === 0) leaving ??= device;
  }
  for (const device of world.creating.values()) {
    if (device.parent !== parent) continue;
    return (
      `it waits for ${who(device.creator)} to finish creating ${deviceWords(device)}, which has taken ` +
      `${seconds(now - device.createBegan)}; the driver (${parent.driver || 'unknown'}) sets it up`
    );
  }
  if (!leaving) return 'what it waits for was not seen';
  return (
    `it waits for ${deviceWords(leaving)} to be taken apart, for ` +
    `${seconds(now - leaving.unbindBegan)}; nobody is known to have it open`
  );
}
