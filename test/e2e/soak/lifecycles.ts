// SPDX-License-Identifier: Apache-2.0
/** Loads that create and remove devices, and VMMs that are killed at random. */
import assert from 'node:assert/strict';
import { Storm, type StormTotals } from '../../lab/storm.ts';
import { type LoadResult, NOTHING } from './expected.ts';
import type { Random } from './random.ts';
import { INSTANCES, type SoakSession, type Type } from './session.ts';

/** Creates as many devices as all parents can have, all at once, and removes them all at once, in rounds. */
export async function createAllAtOnce(
  { vm }: SoakSession,
  types: readonly Type[],
  rounds: number,
): Promise<LoadResult> {
  const workers = types.length * INSTANCES;
  for (let round = 0; round < rounds; round++) {
    const storm = new Storm(vm, { types, workers, rounds: 1, keep: 1 });
    const { creates } = await storm.holding;
    const { removes } = await storm.end();
    assert.deepEqual([creates, removes], [workers, workers], 'the kernel granted all');
  }
  return { expected: [], devices: rounds * workers };
}

/** Leaves devices behind, and unregisters all their parents at once. */
export async function unregisterParents(
  session: SoakSession,
  types: readonly Type[],
  driver: string,
): Promise<LoadResult> {
  const workers = types.length * INSTANCES;
  const storm = new Storm(session.vm, { types, workers, rounds: 1, keep: 1 });
  await storm.holding;
  await storm.kill();
  await session.sh(`rmmod ${driver}`);
  return { expected: [], devices: workers };
}

/** Leaves a VM, whose CPUs share one of the host, time for the load beside it; ms. */
const REST = 200;

/** Creates, opens, closes and removes devices, two at a time, until the returned function is called. */
export async function startLifecycles(
  session: SoakSession,
  types: readonly Type[],
): Promise<() => Promise<StormTotals>> {
  const storm = new Storm(session.vm, {
    ...{
      workers: 1,
      rounds: 0,
      types,
      open: true,
      cdev: session.byCdev,
      kvm: true,
      nested: true,
      vmsEvery: 3,
      rest: REST,
    },
  });
  // A low priority leaves an agent enough CPU time to start.
  await session.sh('until pgrep -x storm; do sleep 0.1; done; renice -n 19 -p $(pgrep -x storm)');
  return async () => {
    const totals = await storm.end();
    const { creates, removes, opens, closes, createErrors, openErrors, removeErrors } = totals;
    assert.deepEqual([creates, opens], [removes, closes]);
    assert.deepEqual([createErrors, openErrors, removeErrors], [0, 0, 0]);
    return totals;
  };
}

/** VMMs at a time, each with a device of its own. */
const CONCURRENCY = 4;
/** A VMM starts and stops that often, unless it is killed before. */
const STARTS = 3;

/**
 * Starts VMMs and kills each at a random time: before its first answer, while it sets up, while it
 * runs, while it closes, or after its last command.
 */
export async function killAtRandom(
  session: SoakSession,
  type: Type,
  runs: number,
  random: Random,
): Promise<LoadResult> {
  const whole = await timeOfRun(session, type);
  const left = Array.from({ length: runs }, () => ({
    after: random() * whole * CONCURRENCY,
    isRemovedAtOnce: random() < 0.25,
  }));
  const worker = async () => {
    let device = await session.create(type);
    for (let run = left.pop(); run; run = left.pop()) {
      const vmm = session.vmm('qemu-killed');
      const answers = startAndStop(session, vmm, device);
      await new Promise((resolve) => setTimeout(resolve, run.after));
      const killed = vmm.kill();
      if (run.isRemovedAtOnce) {
        // The removal may have to wait until the kernel has closed the files of the killed VMM.
        await session.remove(device);
        device = await session.create(type);
      }
      await killed;
      await answers;
    }
    await session.remove(device);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return NOTHING;
}

/** Sends all commands at once; settles when all are answered or the VMM is dead. */
function startAndStop(
  { path }: SoakSession,
  vmm: ReturnType<SoakSession['vmm']>,
  device: string,
): Promise<unknown> {
  const answers: Promise<unknown>[] = [];
  for (let i = 0; i < STARTS; i++) {
    answers.push(vmm.command(path.start('a', device)), vmm.command(path.stop('a')));
  }
  return Promise.allSettled(answers);
}

/** Milliseconds from the start of a VMM that is not killed to its last answer. */
async function timeOfRun(session: SoakSession, type: Type): Promise<number> {
  const device = await session.create(type);
  const began = performance.now();
  const vmm = session.vmm('qemu-whole');
  await startAndStop(session, vmm, device);
  const took = performance.now() - began;
  await vmm.command('quit');
  await session.remove(device);
  return took;
}
