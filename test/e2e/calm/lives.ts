// SPDX-License-Identifier: Apache-2.0
/** Loads of devices and of VMMs that end at any moment. */
import assert from 'node:assert/strict';
import { Storm, type StormTotals } from '../../lab/storm.ts';
import { type Done, NOTHING } from './expected.ts';
import { type Ground, INSTANCES, type Type } from './ground.ts';
import type { Random } from './random.ts';

/** Creates as many devices as all parents can have, all at once, and removes them so, round by round. */
export async function createAllAtOnce(
  { vm }: Ground,
  types: readonly Type[],
  rounds: number,
): Promise<Done> {
  const workers = types.length * INSTANCES;
  for (let round = 0; round < rounds; round++) {
    const storm = new Storm(vm, { types, workers, rounds: 1, keep: 1 });
    const { creates } = await storm.holding;
    const { removes } = await storm.end();
    assert.deepEqual([creates, removes], [workers, workers], 'the kernel granted all');
  }
  return { expected: [], lives: rounds * workers };
}

/** Leaves devices behind, all of whose parents are then withdrawn at once. */
export async function withdrawParents(
  ground: Ground,
  types: readonly Type[],
  driver: string,
): Promise<Done> {
  const workers = types.length * INSTANCES;
  const storm = new Storm(ground.vm, { types, workers, rounds: 1, keep: 1 });
  await storm.holding;
  await storm.kill();
  await ground.sh(`rmmod ${driver}`);
  return { expected: [], lives: workers };
}

/** Devices made, opened, closed and removed, two at a time, until it is told to end. */
export async function startLives(
  ground: Ground,
  types: readonly Type[],
): Promise<() => Promise<StormTotals>> {
  const storm = new Storm(ground.vm, {
    ...{ workers: 1, rounds: 0, types, open: true, kvm: true, nested: true, vmsEvery: 3 },
  });
  // What it leaves to an agent is enough to start.
  await ground.sh('until pgrep -x storm; do sleep 0.1; done; renice -n 19 -p $(pgrep -x storm)');
  return async () => {
    const totals = await storm.end();
    const { creates, removes, opens, closes, createErrors, openErrors, removeErrors } = totals;
    assert.deepEqual([creates, opens], [removes, closes]);
    assert.deepEqual([createErrors, openErrors, removeErrors], [0, 0, 0]);
    return totals;
  };
}

/** VMMs at a time, each with a device of its own. */
const LANES = 4;
/** A VMM starts and stops that often, unless it is killed before. */
const STARTS = 3;

/**
 * Starts VMMs and kills each at a random point: before it has said anything, while it sets
 * up, while it runs, while it lets go, or after its last order.
 */
export async function killAtRandom(
  ground: Ground,
  type: Type,
  runs: number,
  random: Random,
): Promise<Done> {
  const whole = await timeOfRun(ground, type);
  const left = Array.from({ length: runs }, () => ({
    after: random() * whole * LANES,
    isRemovedAtOnce: random() < 0.25,
  }));
  const lane = async () => {
    let device = await ground.create(type);
    for (let run = left.pop(); run; run = left.pop()) {
      const vmm = ground.vmm('qemu-killed');
      const orders = startAndStop(vmm, device);
      await new Promise((resolve) => setTimeout(resolve, run.after));
      const killed = vmm.kill();
      if (run.isRemovedAtOnce) {
        // It may have to wait for what the kernel closes for the dead.
        await ground.remove(device);
        device = await ground.create(type);
      }
      await killed;
      await orders;
    }
    await ground.remove(device);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return NOTHING;
}

/** Gives the orders all at once; settles when all are answered or it is dead. */
function startAndStop(vmm: ReturnType<Ground['vmm']>, device: string): Promise<unknown> {
  const orders: Promise<unknown>[] = [];
  for (let i = 0; i < STARTS; i++) {
    orders.push(vmm.order(`start a ${device}`), vmm.order('stop a'));
  }
  return Promise.allSettled(orders);
}

/** Milliseconds from the start of a VMM that nobody kills to the last answer. */
async function timeOfRun(ground: Ground, type: Type): Promise<number> {
  const device = await ground.create(type);
  const began = performance.now();
  const vmm = ground.vmm('qemu-whole');
  await startAndStop(vmm, device);
  const took = performance.now() - began;
  await vmm.order('quit');
  await ground.remove(device);
  return took;
}
