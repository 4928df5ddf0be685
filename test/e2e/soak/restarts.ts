// SPDX-License-Identifier: Apache-2.0
/** The same loads under agents that start late, are restarted or killed, and lose events. */
import { setTimeout as later } from 'node:timers/promises';
import { bootTimeOf } from '../clock.ts';
import type { AgentSeries } from './agents.ts';
import { BLIND, type LoadResult, slowRemoval } from './expected.ts';
import { shareFiles } from './files.ts';
import { killAtRandom, startLifecycles } from './lifecycles.ts';
import type { Random } from './random.ts';
import { CARD, MTTY, SAMPLES, type SoakSession } from './session.ts';

export interface Load {
  readonly session: SoakSession;
  /** VMMs that are killed. */
  readonly kills: number;
  readonly random: Random;
}

/** Objects that exist when the agent starts end while it observes them, or continue. */
export async function startLate(
  agents: AgentSeries,
  { session, kills, random }: Load,
): Promise<LoadResult> {
  const endLifecycles = await startLifecycles(session, SAMPLES);
  const [running, leaving] = [await session.create(), await session.create()];
  await session.bindCard('vfio-pci');
  const vmm = session.vmm('qemu-early');
  for (const [name, device] of Object.entries({ a: running, b: leaving, c: CARD })) {
    await vmm.command(session.path.start(name, device));
  }
  const twice = session.byCdev ? 'dup a.device twice' : `device open twice a.group ${running}`;
  for (const command of [twice, 'fork start child', 'vm create v']) await vmm.command(command);
  await vmm.command('vcpu create v outliving 0');
  await vmm.command('close v');
  const removalBegan = await bootTimeOf(session.vm);
  const removal = session.remove(leaving);
  await agents.start();
  await vmm.command('fork end child');
  // The removal also detaches the group from the container, perhaps before the VMM does.
  await vmm.command(session.path.stop('b')).catch(() => {});
  await removal;
  const waited = (await bootTimeOf(session.vm)) - removalBegan;
  await killAtRandom(session, MTTY, kills, random);
  const stops = ['a', 'c'].map((name) => session.path.stop(name));
  for (const command of ['close twice', ...stops, 'close outliving', 'quit']) {
    await vmm.command(command);
  }
  await session.unbindCard();
  await session.remove(running);
  await endLifecycles();
  return { expected: slowRemoval(leaving, waited) };
}

/** Stops or kills the agent and starts it again a few times; in between none runs for a while. */
export async function restartRepeatedly(
  agents: AgentSeries,
  load: Load,
  times: number,
  end: 'stop' | 'kill',
): Promise<LoadResult> {
  await agents.start();
  return underLoad(load, async () => {
    for (let time = 0; time < times; time++) {
      await later(1000);
      await agents[end]();
      await later(load.random() * 500);
      await agents.start();
    }
  });
}

/** Runs an agent whose ring is too small, and pauses it as well. */
export async function loseEvents(agents: AgentSeries, load: Load): Promise<LoadResult> {
  await agents.start();
  const done = await underLoad(load, async () => {
    const { current: agent } = agents;
    // The load continues until enough has happened during a pause, however slow the machine is.
    await agent.until('it has lost events', async () => {
      agent.process.signal('SIGSTOP');
      await later(1000);
      agent.process.signal('SIGCONT');
      return (await agent.lost()) > 0;
    });
  });
  return { ...done, expected: [...done.expected, BLIND] };
}

/** Does something to agents while the loads run. */
async function underLoad(
  { session, kills, random }: Load,
  disturb: () => Promise<void>,
): Promise<LoadResult> {
  const endLifecycles = await startLifecycles(session, SAMPLES);
  const [{ expected }] = await Promise.all([
    shareFiles(session),
    killAtRandom(session, MTTY, kills, random),
    disturb(),
  ]);
  await endLifecycles();
  return { expected, mayBeMissed: true };
}
