// SPDX-License-Identifier: Apache-2.0
/** The same loads under agents that come late, come and go, and lose events. */
import { setTimeout as later } from 'node:timers/promises';
import { BLIND, type Done, NOTHING } from './expected.ts';
import { shareFiles } from './files.ts';
import { CARD, type Ground, MTTY, SAMPLES } from './ground.ts';
import { killAtRandom, startLives } from './lives.ts';
import type { Random } from './random.ts';
import type { Watch } from './watch.ts';

export interface Load {
  readonly ground: Ground;
  /** VMMs that are killed. */
  readonly kills: number;
  readonly random: Random;
}

/** All that is there when the agent comes ends under its eyes, or goes on. */
export async function comeLate(watch: Watch, { ground, kills, random }: Load): Promise<Done> {
  const endLives = await startLives(ground, SAMPLES);
  const [running, leaving] = [await ground.create(), await ground.create()];
  await ground.bindCard('vfio-pci');
  const vmm = ground.vmm('qemu-early');
  for (const [name, device] of Object.entries({ a: running, b: leaving, c: CARD })) {
    await vmm.order(`start ${name} ${device}`);
  }
  for (const order of ['device open twice a.group', 'fork start child', 'vm create v']) {
    await vmm.order(order.endsWith('group') ? `${order} ${running}` : order);
  }
  await vmm.order('vcpu create v outliving 0');
  await vmm.order('close v');
  const removal = ground.remove(leaving);
  await watch.start();
  await vmm.order('fork end child');
  // Its removal also takes the group from the container, perhaps before the VMM does.
  await vmm.order('stop b').catch(() => {});
  await removal;
  await killAtRandom(ground, MTTY, kills, random);
  for (const order of ['close twice', 'stop a', 'stop c', 'close outliving', 'quit']) {
    await vmm.order(order);
  }
  await ground.unbindCard();
  await ground.remove(running);
  await endLives();
  return NOTHING;
}

/** An agent that is stopped, or killed, and started anew a few times, with time without any. */
export async function comeAndGo(
  watch: Watch,
  load: Load,
  times: number,
  end: 'stop' | 'kill',
): Promise<Done> {
  await watch.start();
  return underLoad(load, async () => {
    for (let time = 0; time < times; time++) {
      await later(1000);
      await watch[end]();
      await later(load.random() * 500);
      await watch.start();
    }
  });
}

/** An agent whose ring is too small, and that is held up besides. */
export async function lose(watch: Watch, load: Load): Promise<Done> {
  await watch.start();
  const done = await underLoad(load, async () => {
    for (const signal of ['SIGSTOP', 'SIGCONT'] as const) {
      await later(1000);
      watch.agent.process.signal(signal);
    }
  });
  await watch.agent.until('it has lost events', async () => (await watch.agent.lost()) > 0);
  return { ...done, expected: [...done.expected, BLIND] };
}

/** Does something to agents while everything goes on. */
async function underLoad({ ground, kills, random }: Load, act: () => Promise<void>): Promise<Done> {
  const endLives = await startLives(ground, SAMPLES);
  const [{ expected }] = await Promise.all([
    shareFiles(ground),
    killAtRandom(ground, MTTY, kills, random),
    act(),
  ]);
  await endLives();
  return { expected, mayBeMissed: true };
}
