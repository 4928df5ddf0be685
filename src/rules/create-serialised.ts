import type { Moment } from '../lifecycle/moment.ts';
import type { Device } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import type { Rule, RuleContext } from './rule.ts';
import type { Story } from './story.ts';
import type { ToldParent } from './told.ts';
import { deviceWords, seconds, who } from './words.ts';

/** Of those that were in the way, the events of so many are kept. */
const MOST = 8;

export const createSerialised: Rule = {
  id: 'create-serialised',
  title: 'Devices of one parent are created one after the other',
  severity: 'info',
  meaning:
    'Several mdevs were asked for at once on one parent, and each had to wait for those before it: a ' +
    'creation took long because others were in its way, not because it has so much to do, and not ' +
    'because the host is slow, which other parents would feel as much. At 16 ' +
    'devices on each of 8 parents that makes the start of a host slow. The core itself holds its lock ' +
    'only for a glance at its list, so the usual reason is a lock of the driver, held while it sets a ' +
    'device up.',
  advice:
    'See in the explanation where the time went. Since Linux 6.1, what is spent before the driver is ' +
    'asked is spent in the core, the rest in the driver; before, the driver is asked first. Creating ' +
    'them one by one takes no longer. Ask the maker of the driver whether its lock is needed for the ' +
    'slow part.',
  origin:
    'vfio/mdev: Check globally for duplicate devices (Alex Williamson and Kirti Wankhede, May 2018), ' +
    'on what is serialised when 128 devices are created; mdev_list_lock in mdev_device_create()',
  evidence:
    'How long the creation took before and after its driver was asked, how many that had begun before ' +
    'ended meanwhile, and how many were still to come; the events of the creation itself and of the ' +
    'last eight that were in its way.',
  provocation: {
    by: 'driver',
    how: 'Devices are created in parallel on a driver that sleeps in its probe and holds a lock.',
  },
  basis: 'state',
  needs: ['mdev.probe'],
  on: { 'mdev.create:end': check },
  examples: {
    fires: [
      {
        title: 'four at once, and the driver sets up one at a time',
        tell(story) {
          createInTurn(story, story.parent(), [1, 2, 3, 4]);
        },
      },
      {
        title: 'they wait before their driver is asked',
        tell(story) {
          const parent = story.parent();
          const [first, second, third] = [701, 702, 703].map((pid) =>
            story.createEnters(parent, { as: { pid, comm: 'mdevctl' } }),
          );
          story.createEnds(story.probeBegins(first));
          story.wait(1);
          story.createEnds(story.probeBegins(second));
          story.wait(1);
          story.createEnds(story.probeBegins(third));
        },
      },
    ],
    silent: [
      {
        title: 'a driver that takes its time for each, side by side',
        tell(story) {
          createInTurn(story, story.parent(), [3, 3, 3, 3]);
        },
      },
      {
        title: 'a single creation that takes long',
        tell(story) {
          createInTurn(story, story.parent(), [9]);
        },
      },
      {
        title: 'one that takes long beside many that do not',
        tell(story) {
          createInTurn(story, story.parent(), [0, 0, 0, 0, 9]);
        },
      },
      {
        title: 'one after the other, but fast',
        tell(story) {
          createInTurn(story, story.parent(), [0, 0, 0, 0, 0]);
        },
      },
      {
        title: 'those that came later are done first, so nobody was in its way',
        tell(story) {
          const parent = story.parent();
          const slow = story.createBegins(parent, { as: { pid: 700, comm: 'mdevctl' } });
          for (let i = 0; i < 4; i++) {
            story.wait(1);
            story.create(parent, { as: { pid: 701 + i, comm: 'mdevctl' } });
          }
          story.createEnds(slow);
        },
      },
      {
        title: 'slow ones on other parents',
        tell(story) {
          const [first, second] = [story.parent(), story.parent({ name: 'mdpy' })];
          const one = story.createBegins(first, { as: { pid: 701, comm: 'mdevctl' } });
          const other = story.createBegins(second, { as: { pid: 702, comm: 'mdevctl' } });
          story.wait(2);
          story.createEnds(one);
          story.wait(2);
          story.createEnds(other);
        },
      },
      {
        title: 'on another parent they wait as long: the host has no CPUs for so many at once',
        tell(story) {
          const parents = [story.parent(), story.parent({ name: 'mdpy' })];
          const creations = [701, 702, 703, 704, 705, 706].map((pid, i) =>
            story.createBegins(parents[i % 2], { as: { pid, comm: 'mdevctl' } }),
          );
          for (const creation of creations) {
            story.wait(1);
            story.createEnds(creation);
          }
        },
      },
    ],
  },
};

/** Creations that begin together, and the driver is done with each when told. @param ends in s, ascending */
function createInTurn(story: Story, parent: ToldParent, ends: readonly number[]): void {
  const creations = ends.map((_, i) =>
    story.createBegins(parent, { as: { pid: 701 + i, comm: 'mdevctl' } }),
  );
  let now = 0;
  for (const [i, creation] of creations.entries()) {
    story.wait(ends[i] - now);
    now = ends[i];
    story.createEnds(creation);
  }
}

/**
 * Creations that stand in a queue take the longer the more are before them. So it waited if
 * most of its time others came to an end, and it took far longer than the fastest of these.
 */
function check(moment: Moment, { world, thresholds, report }: RuleContext): void {
  const { event, device, parent, duration } = moment;
  if (event.ret !== 0 || !device || !parent || duration < thresholds.createSerialised) return;
  const ahead: Device[] = [];
  let fastest = Number.POSITIVE_INFINITY;
  let lastEnd = 0;
  for (const other of parent.devices) {
    const { createBegan, createdAt } = other;
    const wasAhead = createBegan > 0 && createBegan < device.createBegan;
    if (!wasAhead || createdAt <= device.createBegan) continue;
    ahead.push(other);
    fastest = Math.min(fastest, createdAt - createBegan);
    lastEnd = Math.max(lastEnd, createdAt);
  }
  const waited = lastEnd - device.createBegan;
  if (ahead.length === 0 || waited < duration / 2 || duration < fastest * 2) return;
  if (isHostSlow(device, duration, world)) return;
  const toProbe = device.probeBegan - device.createBegan;
  const behind = countBehind(device, world);
  report({
    parent,
    others: [device, ...ahead.slice(-MOST)],
    task: device.creator,
    says:
      `To create ${deviceWords(device)} on ${parent.name} took ${who(device.creator)} ` +
      `${seconds(duration)}: ${seconds(toProbe)} until its driver's probe, and ` +
      `${seconds(duration - toProbe)} from there. Meanwhile ${ahead.length} that had begun before came to an ` +
      `end, and ${behind || 'none'} ${behind === 1 ? 'was' : 'were'} still to come.`,
  });
}

/**
 * Whether a creation on another parent took about as long at the same time: then it is no queue of
 * this parent, but there is more to do at once than the host has CPUs for.
 */
function isHostSlow(device: Device, duration: number, world: World): boolean {
  const isAsSlow = ({ parent, createBegan, createdAt }: Device) => {
    const end = createdAt || world.now;
    const isElsewhere = parent !== device.parent && createBegan > 0;
    return isElsewhere && end > device.createBegan && end - createBegan >= duration / 2;
  };
  for (const other of world.devices) if (isAsSlow(other)) return true;
  for (const other of world.creating.values()) if (isAsSlow(other)) return true;
  return false;
}

function countBehind(device: Device, world: World): number {
  let count = 0;
  for (const other of world.creating.values()) if (other.parent === device.parent) count++;
  return count;
}
