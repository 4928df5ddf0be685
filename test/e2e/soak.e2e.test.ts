// SPDX-License-Identifier: Apache-2.0
/**
 * The no-false-positive soak: heavy but correct use, by every kind of client, on a real kernel. Each
 * violation that is raised nevertheless is expected, with the reason why it is true.
 *
 * VFIOSCOPE_SOAK is the share of the soak that is run, from 0 to 1; VFIOSCOPE_SEED seeds the times at
 * which VMMs are killed. With VFIOSCOPE_KEEP the results are written to soak/KERNEL.json.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, afterEach, before, describe, it, type TestContext } from 'node:test';
import { SUITE_MS } from '../until.ts';
import { AgentSeries, type Campaign, campaignFile, during } from './soak/agents.ts';
import { assignCard, cardWithoutVm, mdevctl, qemuWithCard, qemuWithMdev } from './soak/clients.ts';
import type { LoadResult } from './soak/expected.ts';
import { shareFiles } from './soak/files.ts';
import { createAllAtOnce, killAtRandom, unregisterParents } from './soak/lifecycles.ts';
import { LOADS, type LoadName, OPEN_NOTHING } from './soak/loads.ts';
import { seeded } from './soak/random.ts';
import { loseEvents, restartRepeatedly, startLate } from './soak/restarts.ts';
import { hasCdevs, MTTY, SoakSession, type Type } from './soak/session.ts';
import { KERNEL } from './traits.ts';

const SHARE = Number(process.env.VFIOSCOPE_SOAK ?? 0.05);
const SEED = Number(process.env.VFIOSCOPE_SEED ?? Date.now() % 2 ** 31);
/** A limit only against hangs: a busy machine needs several times as long as an idle one. */
const TIMEOUT_MS = SUITE_MS + SHARE * 1_500_000;

/** Large enough that events are lost only where a load means to lose them. */
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
  let session: SoakSession;
  let agents: AgentSeries;
  let parents: readonly Type[];

  before(async () => {
    session = await SoakSession.open(KERNEL, TIMEOUT_MS - 10_000);
    agents = new AgentSeries(session.vm, ...LARGE_RING);
    await agents.start();
    await session.loadModules();
    await session.loadSamples();
    if (session.byCdev) return;
    await session.loadDriver();
    parents = await session.driverTypes();
  });
  after(async () => {
    await session?.vm.close();
  });

  const run = async (
    name: LoadName,
    test: TestContext,
    by: AgentSeries,
    load: () => Promise<LoadResult>,
  ) => {
    const began = performance.now();
    const { account, wrong } = await during(by, load);
    loads[name] = account;
    const took = Math.round((performance.now() - began) / 1000);
    test.diagnostic(`${took} s: ${JSON.stringify(account)}`);
    assert.deepEqual(wrong, []);
  };
  /** Runs a load under the agent that runs all the time. */
  const soak = (name: LoadName, load: () => Promise<LoadResult>) =>
    it(name, (test) => run(name, test, agents, load));

  if (!hasCdevs(KERNEL)) {
    soak('8 parents x 16 devices, created and removed all at once', () =>
      createAllAtOnce(session, parents, some(50)),
    );
    soak('8 parents unregistered with all their devices', () =>
      unregisterParents(session, parents, 'faulty'),
    );
  }
  soak('VMMs killed at random', () => killAtRandom(session, MTTY, some(200), random));
  soak('QEMU with mdevs', () => qemuWithMdev(session, some(5)));
  soak('a card assigned to VMMs', () => assignCard(session, some(5)));
  soak('a card used without a VM', () => cardWithoutVm(session));
  soak('QEMU with a card', () => qemuWithCard(session, some(5)));
  soak('mdevctl', () => mdevctl(session, some(5)));
  soak('descriptors shared, passed on and outlived', () => shareFiles(session));

  describe('by agents that', () => {
    before(() => agents.stop());
    afterEach(() => session.clear());
    const load = () => ({ session, kills: some(20), random });
    const observedBy = (
      name: LoadName,
      flags: readonly string[],
      apply: (by: AgentSeries) => Promise<LoadResult>,
    ) =>
      it(name, async (test) => {
        const by = new AgentSeries(session.vm, ...flags);
        await run(name, test, by, () => apply(by));
        await by.stop();
      });

    observedBy('start late', LARGE_RING, (by) => startLate(by, load()));
    observedBy('are restarted', LARGE_RING, (by) => restartRepeatedly(by, load(), some(2), 'stop'));
    observedBy('are killed', [...LARGE_RING, ...PIN], (by) =>
      restartRepeatedly(by, load(), some(2), 'kill'),
    );
    observedBy('lose events', SMALL_RING, (by) => loseEvents(by, load()));
  });

  it('leaves no problem in the kernel log', async () => {
    assert.deepEqual(await session.vm.problems(), []);
  });

  it('writes its results, when VFIOSCOPE_KEEP is set', () => {
    if (process.env.VFIOSCOPE_KEEP === undefined) return;
    const names = Object.keys(LOADS).filter((name) => !hasCdevs(KERNEL) || !OPEN_NOTHING.has(name));
    assert.deepEqual(Object.keys(loads), names, 'all loads were run');
    const campaign: Campaign = { release: session.vm.kernel.release, share: SHARE, loads };
    writeFileSync(campaignFile(KERNEL), `${JSON.stringify(campaign, null, 2)}\n`);
  });
});
