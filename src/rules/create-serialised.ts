import type { ObservedTransition, Rule, RuleContext } from '../engine/rule.ts';
import { deviceWords, seconds, who } from '../engine/words.ts';
import { POINT } from '../events/wire.gen.ts';
import type { Device } from '../lifecycle/objects.ts';
import type { World } from '../lifecycle/world.ts';
import type { Scenario } from '../scenario/scenario.ts';
import type { ScenarioParent } from '../scenario/types.ts';

/** The events of so many of the creations that were ahead are kept as evidence. */
const MOST = 8;

export const createSerialised: Rule = {
  id: 'create-serialised',
  title: 'Devices of one parent are created one after the other',
  severity: 'info',
  description:
    'Several mdevs were requested at once on one parent, and each had to wait for those before ' +
    'it: a creation took long because others were ahead of it, not because of its own work, ' +
    'and not because the host is slow, which other parents would feel as much. At 16 devices ' +
    'on each of 8 parents that makes the start of a host slow. The core itself holds its lock ' +
    'only for a search of its list, so the usual reason is a lock of the driver, held while ' +
    'it sets a device up.',
  remediation:
    'Read in the message where the time was spent. Since Linux 6.1, the time before the ' +
    "driver's probe is spent in the core, the rest in the driver; before, the driver is called " +
    "first. Creating the devices one by one takes no longer. Ask the driver's vendor whether " +
    'its lock is needed for the slow part.',
  references:
    'vfio/mdev: Check globally for duplicate devices (Alex Williamson and Kirti Wankhede, May 2018), ' +
    'on what is serialised when 128 devices are created; mdev_list_lock in mdev_device_create()',
  evidence:
    'How long the creation took before and after its driver was called, how many that had ' +
    'begun before ended meanwhile, and how many were still in progress; the events of the creation ' +
    'itself and of the last eight that were ahead of it.',
  blindSpot: 'A queue on one parent while creations on other parents are as slow.',
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
        run(scenario) {
          createInTurn(scenario, scenario.parent(), [1, 2, 3, 4]);
        },
      },
      {
        title: 'they wait before their driver is called',
        run(scenario) {
          const parent = scenario.parent();
          const [first, second, third] = [701, 702, 703].map((pid) =>
            scenario.createEnters(parent, { as: { pid, comm: 'mdevctl' } }),
          );
          scenario.createEnds(scenario.probeBegins(first));
          scenario.wait(1);
          scenario.createEnds(scenario.probeBegins(second));
          scenario.wait(1);
          scenario.createEnds(scenario.probeBegins(third));
        },
      },
    ],
    doesNotFire: [
      {
        title: 'a driver that is slow for each, side by side',
        run(scenario) {
          createInTurn(scenario, scenario.parent(), [3, 3, 3, 3]);
        },
      },
      {
        title: 'a single creation that takes long',
        run(scenario) {
          createInTurn(scenario, scenario.parent(), [9]);
        },
      },
      {
        title: 'one that takes long beside many that do not',
        run(scenario) {
          createInTurn(scenario, scenario.parent(), [0, 0, 0, 0, 9]);
        },
      },
      {
        title: 'one after the other, but fast',
        run(scenario) {
          createInTurn(scenario, scenario.parent(), [0, 0, 0, 0, 0]);
        },
      },
      {
        title: 'those that came later end first, so none was ahead of it',
        run(scenario) {
          const parent = scenario.parent();
          const slow = scenario.createBegins(parent, { as: { pid: 700, comm: 'mdevctl' } });
          for (let i = 0; i < 4; i++) {
            scenario.wait(1);
            scenario.create(parent, { as: { pid: 701 + i, comm: 'mdevctl' } });
          }
          scenario.createEnds(slow);
        },
      },
      {
        title: 'slow ones on other parents',
        run(scenario) {
          const [first, second] = [scenario.parent(), scenario.parent({ name: 'mdpy' })];
          const one = scenario.createBegins(first, { as: { pid: 701, comm: 'mdevctl' } });
          const other = scenario.createBegins(second, { as: { pid: 702, comm: 'mdevctl' } });
          scenario.wait(2);
          scenario.createEnds(one);
          scenario.wait(2);
          scenario.createEnds(other);
        },
      },
      {
        title: 'on another parent they wait as long: the host has no CPUs for so many at once',
        run(scenario) {
          const parents = [scenario.parent(), scenario.parent({ name: 'mdpy' })];
          const creations = [701, 702, 703, 704, 705, 706].map((pid, i) =>
            scenario.createBegins(parents[i % 2], { as: { pid, comm: 'mdevctl' } }),
          );
          for (const creation of creations) {
            scenario.wait(1);
            scenario.createEnds(creation);
          }
        },
      },
    ],
  },
};

/** Creations that begin together and end one after the other. @param ends in s, ascending */
function createInTurn(scenario: Scenario, parent: ScenarioParent, ends: readonly number[]): void {
  const creations = ends.map((_, i) =>
    scenario.createBegins(parent, { as: { pid: 701 + i, comm: 'mdevctl' } }),
  );
  let now = 0;
  for (const [i, creation] of creations.entries()) {
    scenario.wait(ends[i] - now);
    now = ends[i];
    scenario.createEnds(creation);
  }
}

/**
 * The more creations are ahead in a queue, the longer one takes. So a creation waited if others ended
 * during most of its time, and it took far longer than the fastest of these.
 */
function check(transition: ObservedTransition, { world, thresholds, report }: RuleContext): void {
  const { event, device, parent, duration } = transition;
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
    message:
      `The creation of ${deviceWords(device)} on ${parent.name} by ${who(device.creator)} took ` +
      `${seconds(duration)}: ${seconds(toProbe)} until its driver's probe, and ` +
      `${seconds(duration - toProbe)} from there. Of the creations that had begun before it, ` +
      `${ahead.length} ended meanwhile, and ${behind || 'none'} ${behind === 1 ? 'was' : 'were'} still in progress.`,
  });
}

/**
 * Whether a creation on another parent took about as long at the same time: then the parent has no
 * queue, but the host has too few CPUs for all that runs at once.
 */
function isHostSlow(device: Device, duration: number, world: World): boolean {
  const isAsSlow = ({ parent, createBegan, createdAt }: Device) => {
    const end = createdAt || world.now;
    const isElsewhere = parent !== device.parent && createBegan > 0;
    return isElsewhere && end > device.createBegan && end - createBegan >= duration / 2;
  };
  for (const other of world.devices) if (isAsSlow(other)) return true;
  for (const { device: other } of world.calls.at(POINT.MDEV_CREATE)) {
    if (other && isAsSlow(other)) return true;
  }
  return false;
}

function countBehind(device: Device, world: World): number {
  let count = 0;
  for (const call of world.calls.at(POINT.MDEV_CREATE)) if (call.parent === device.parent) count++;
  return count;
}
