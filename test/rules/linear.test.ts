/**
 * That the work of every rule's clock, and of every view, grows with the number of objects and not with its
 * square: anybody who may open /dev/kvm can make thousands of VMs. A small world is compared with one that
 * has four times as many of each object; what is compared is the processor time of this process, so
 * that it does not matter how fast the machine is or what else runs on it.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { RULES } from '../../src/catalogue.ts';
import { RuleEngine } from '../../src/engine/engine.ts';
import { isPossible } from '../../src/engine/rule.ts';
import type { FileOwner, Host, WaitingTasks } from '../../src/events/host.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import type { Scenario } from '../../src/scenario/scenario.ts';
import { SECOND } from '../../src/units.ts';
import { Served } from '../kit/served.ts';

const SMALL = 1000;
const LARGE = 4000;
/** Linear work takes 4 times as long, with sorting and a fuller memory a bit more; quadratic work takes 16 times. */
const MOST = 9;
/** Less than this is not measured exactly enough to be compared; ms. */
const NOTHING = 20;
const TRIES = 12;

/** A process that made no VM and has files of KVM, so that every closed VM may be held by it. */
const HOLDERS: readonly FileOwner[] = [700, 701].map((pid) => ({
  ...{ pid, comm: 'holder', uid: 1000, startedAt: 0, kvmFiles: true },
  ...{ deviceFiles: [], groupFiles: [], cdevFiles: [], mappedDevices: [] },
}));

/** As many as are looked at, in state D for the lock of some device. */
const WAITING: WaitingTasks = {
  tasks: Array.from({ length: 256 }, (_, i) => ({
    ...{ pid: 100_000 + i, tid: 100_000 + i, comm: 'sh', uid: 0 },
    inKernel: { state: 'D (disk sleep)', wchan: 'device_del' },
  })),
  missing: ['truncated'],
};

interface Crowd {
  readonly served: Served;
  readonly host: Host;
}

/** So many devices in all states and so many VMs, of which half are zombies. */
function crowd(size: number, owners: readonly FileOwner[]): Crowd {
  const pids = new Set(owners.map(({ pid }) => pid));
  const host: Host = {
    traits: LINUX_6_12,
    pidsWithKvmFiles: () => pids,
    fileOwners: () => owners,
    isExiting: () => false,
    hasDeviceFile: () => true,
    blockedTask: () => ({ state: 'D (disk sleep)' }),
    waitingTasks: () => WAITING,
    controlGroup: () => undefined,
    availableInstances: () => new Map([['mtty-1', 1]]),
  };
  const served = new Served({ host });
  served.run((scenario) => {
    const parents = Array.from({ length: 10 }, (_, i) => scenario.parent({ name: `mtty${i}` }));
    for (let i = 0; i < size; i++) addOne(scenario, parents[i % parents.length], i);
  });
  return { served, host };
}

function addOne(scenario: Scenario, parent: ReturnType<Scenario['parent']>, i: number): void {
  const task = { pid: 10_000 + i, comm: 'qemu' };
  const vm = scenario.createVm({ as: task });
  const device = scenario.create(parent);
  switch (i % 4) {
    case 0:
      scenario.open(device, { vm, as: task });
      scenario.removeBegins(device, { as: { pid: 30_000 + i, comm: 'bash' } });
      break;
    case 1:
      scenario.open(device, { vm, as: task });
      scenario.getKvm(vm, { as: task });
      scenario.closeVm(vm);
      break;
    case 2:
      scenario.getKvm(vm, { as: task });
      scenario.closeVm(vm);
      break;
  }
}

/** The least processor time of some tries in ms: the one that was disturbed least. */
function cost(work: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < TRIES; i++) {
    const begin = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(begin);
    least = Math.min(least, (user + system) / 1000);
  }
  return least;
}

function assertLinear(small: number, large: number): void {
  const ratio = large / Math.max(small, NOTHING / MOST);
  assert.ok(
    large < NOTHING || ratio < MOST,
    `${SMALL} of each take ${small} ms, ${LARGE} of each take ${large} ms: ${ratio.toFixed(1)} times`,
  );
}

const CLOCKS = RULES.filter(({ onClock }) => onClock);
const PATHS = ['devices', 'vms', 'parents', 'violations'];

for (const { title, owners, rules, paths } of [
  { title: 'that nobody holds', owners: [], rules: CLOCKS, paths: PATHS },
  {
    title: 'that other processes may hold',
    owners: HOLDERS,
    rules: CLOCKS.filter(({ id }) => id === 'kvm-ref-leak'),
    paths: ['vms'],
  },
]) {
  describe(`with closed VMs ${title}`, () => {
    let worlds: readonly [Crowd, Crowd];
    before(() => {
      worlds = [crowd(SMALL, owners), crowd(LARGE, owners)];
    });
    after(() => Promise.all(worlds.map(({ served }) => served.server.close())));

    for (const rule of rules) {
      it(`the clock of ${rule.id} is linear`, () => {
        if (!isPossible(rule, LINUX_6_12)) return;
        const [small, large] = worlds.map(({ served: { world }, host }) => {
          const engine = new RuleEngine(world, { rules: [rule], host });
          let { now } = world;
          // Long enough for its threshold and for what is checked twice.
          const tick = () => {
            now += 10 * SECOND;
            engine.tick(now);
          };
          for (let i = 0; i < 8; i++) tick();
          return cost(tick);
        });
        assertLinear(small, large);
      });
    }

    for (const path of paths) {
      it(`/api/v1/${path} is linear`, async () => {
        const costs: number[] = [];
        for (const { served } of worlds) {
          let least = Number.POSITIVE_INFINITY;
          for (let i = 0; i < TRIES; i++) {
            const begin = process.cpuUsage();
            const { status } = await served.get(`/api/v1/${path}`);
            const { user, system } = process.cpuUsage(begin);
            assert.equal(status, 200);
            least = Math.min(least, (user + system) / 1000);
          }
          costs.push(least);
        }
        assertLinear(costs[0], costs[1]);
      });
    }
  });
}
