// SPDX-License-Identifier: Apache-2.0
/**
 * No false alarm: heavy use that is correct, by every kind of client, on a real kernel. What
 * fires all the same is expected one by one, with the reason why it is true.
 *
 * VFIOSCOPE_CALM is the share of the campaign that is run, from 0 to 1, and VFIOSCOPE_SEED what
 * decides when VMMs are killed. With VFIOSCOPE_KEEP it leaves calm/KERNEL.json.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, afterEach, before, describe, it, type TestContext } from 'node:test';
import { cardWithoutVm, lendCard, mdevctl, qemuWithCard, qemuWithMdev } from './calm/clients.ts';
import type { Done } from './calm/expected.ts';
import { shareFiles } from './calm/files.ts';
import { Ground, MTTY, type Type } from './calm/ground.ts';
import { createAllAtOnce, killAtRandom, withdrawParents } from './calm/lives.ts';
import { LOADS, type LoadName } from './calm/loads.ts';
import { seeded } from './calm/random.ts';
import { comeAndGo, comeLate, lose } from './calm/unsteady.ts';
import { type Campaign, campaignFile, during, Watch } from './calm/watch.ts';
import { KERNEL } from './traits.ts';

const SHARE = Number(process.env.VFIOSCOPE_CALM ?? 0.05);
const SEED = Number(process.env.VFIOSCOPE_SEED ?? Date.now() % 2 ** 31);
/** Only against what hangs: a busy machine needs several times what a quiet one does. */
const TIMEOUT_MS = 900_000 + SHARE * 1_500_000;

/** So large that nothing is lost that is not meant to be. */
const LARGE_RING = ['--ring-bytes', `${1 << 24}`];
/** Before 5.15 the kernel ties a probe to the process. */
const PIN = KERNEL === '5.10' ? [] : ['--pin'];
const SMALL_RING = ['--ring-bytes', '4096'];

/** The share of a number. */
const some = (all: number) => Math.max(1, Math.round(all * SHARE));

describe(`correct use of ${KERNEL}, a share of ${SHARE}, seed ${SEED}`, {
  timeout: TIMEOUT_MS,
}, () => {
  const random = seeded(SEED);
  const loads: Campaign['loads'] = {};
  let ground: Ground;
  let watch: Watch;
  let parents: readonly Type[];

  before(async () => {
    ground = await Ground.open(KERNEL, TIMEOUT_MS - 10_000);
    watch = new Watch(ground.vm, ...LARGE_RING);
    await watch.start();
    await ground.loadModules();
    await ground.loadSamples();
    await ground.loadDriver();
    parents = await ground.driverTypes();
  });
  after(async () => {
    await ground?.vm.close();
  });

  const play = async (name: LoadName, test: TestContext, by: Watch, load: () => Promise<Done>) => {
    const began = performance.now();
    const { account, wrong } = await during(by, load);
    loads[name] = account;
    const took = Math.round((performance.now() - began) / 1000);
    test.diagnostic(`${took} s: ${JSON.stringify(account)}`);
    assert.deepEqual(wrong, []);
  };
  /** Under the agent that is there all the time. */
  const calm = (name: LoadName, load: () => Promise<Done>) =>
    it(name, (test) => play(name, test, watch, load));

  calm('8 parents x 16 devices, created and removed all at once', () =>
    createAllAtOnce(ground, parents, some(50)),
  );
  calm('8 parents withdrawn with all their devices', () =>
    withdrawParents(ground, parents, 'faulty'),
  );
  calm('VMMs killed at random', () => killAtRandom(ground, MTTY, some(200), random));
  calm('QEMU with mdevs', () => qemuWithMdev(ground, some(5)));
  calm('a card lent to VMMs', () => lendCard(ground, some(5)));
  calm('a card used without a VM', () => cardWithoutVm(ground));
  calm('QEMU with a card', () => qemuWithCard(ground, some(5)));
  calm('mdevctl', () => mdevctl(ground, some(5)));
  calm('descriptors shared, passed on and outlived', () => shareFiles(ground));

  describe('by agents that', () => {
    before(() => watch.stop());
    afterEach(() => ground.clear());
    const load = () => ({ ground, kills: some(20), random });
    const unsteady = (
      name: LoadName,
      flags: readonly string[],
      act: (by: Watch) => Promise<Done>,
    ) =>
      it(name, async (test) => {
        const by = new Watch(ground.vm, ...flags);
        await play(name, test, by, () => act(by));
        await by.stop();
      });

    unsteady('come late', LARGE_RING, (by) => comeLate(by, load()));
    unsteady('come and go', LARGE_RING, (by) => comeAndGo(by, load(), some(2), 'stop'));
    unsteady('are killed', [...LARGE_RING, ...PIN], (by) => comeAndGo(by, load(), some(2), 'kill'));
    unsteady('lose events', SMALL_RING, (by) => lose(by, load()));
  });

  it('left the kernel without complaint', async () => {
    assert.deepEqual(await ground.vm.problems(), []);
  });

  it('leaves its account, when asked', () => {
    if (process.env.VFIOSCOPE_KEEP === undefined) return;
    assert.deepEqual(Object.keys(loads), Object.keys(LOADS), 'all loads were run');
    const campaign: Campaign = { release: ground.vm.kernel.release, share: SHARE, loads };
    writeFileSync(campaignFile(KERNEL), `${JSON.stringify(campaign, null, 2)}\n`);
  });
});
