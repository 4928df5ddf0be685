// SPDX-License-Identifier: Apache-2.0
/**
 * How long looking for those who wait behind a stall holds the event loop on a host with 10,000 tasks. The
 * host is made up of files, which take at least as long to read as those of /proc. The time between two
 * turns of the event loop is the processor time of its thread, so that other work on the machine does not count.
 */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RULES } from '../../src/catalogue.ts';
import type { WaitingTasks } from '../../src/events/host.ts';
import { waitingTasks } from '../../src/kernel/waiting-tasks.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { unbindBegins } from '../../src/scenario/vfio.ts';
import { ScenarioRunner } from '../kit/scenario-runner.ts';
import { readArguments } from './arguments.ts';
import { spread, table } from './rounds.ts';

const { rounds, smoke } = readArguments();
/** With fewer, a smoke test takes about a second. */
const TASKS = smoke ? 1000 : 10_000;
const THREADS = 10;
/** More than have their stacks read. */
const STUCK = 400;
/** How long the event loop may be held, ms. */
const LIMIT = 20;
const STALLS = 10;

const STACK = `[<0>] device_del+0x3d/0x3e0\n${'[<0>] vfs_write+0x28f/0x450\n'.repeat(20)}`;

interface Round {
  /** ms of the longest turn, of all turns, and of the tick after it. */
  readonly longest: number;
  readonly all: number;
  readonly tick: number;
}

/** A /proc of processes with ten threads each. */
function makeProc(): string {
  const proc = mkdtempSync(join(tmpdir(), 'proc-'));
  mkdirSync(join(proc, 'self/ns'), { recursive: true });
  symlinkSync('pid:[4026531836]', join(proc, 'self/ns/pid'));
  for (let tid = 1; tid <= TASKS; tid++) addThread(proc, tid);
  return proc;
}

function addThread(proc: string, tid: number): void {
  const pid = tid - ((tid - 1) % THREADS);
  const state = tid <= STUCK ? 'D' : 'S';
  const thread = join(proc, `${pid}/task/${tid}`);
  mkdirSync(thread, { recursive: true });
  writeFileSync(join(thread, 'stat'), `${tid} (CPU 0/KVM) ${state} ${'1 '.repeat(49)}\n`);
  if (state === 'S') return;
  mkdirSync(join(proc, `${tid}`), { recursive: true });
  const status = `Name:\tCPU 0/KVM\nState:\tD (disk sleep)\nTgid:\t${pid}\nUid:\t0\t0\t0\t0\n`;
  writeFileSync(join(proc, `${tid}/status`), status);
  writeFileSync(join(proc, `${tid}/wchan`), 'device_del');
  writeFileSync(join(proc, `${tid}/stack`), STACK);
}

/** ms of CPU that the thread of the event loop took. */
function used(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** Scans while something else waits for each turn of the event loop. */
async function scan(proc: string): Promise<{ longest: number; all: number; answer: WaitingTasks }> {
  let isOver = false;
  const began = used();
  let last = began;
  let longest = 0;
  const turn = () => {
    const now = used();
    longest = Math.max(longest, now - last);
    last = now;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  const answer = await waitingTasks(proc);
  turn();
  isOver = true;
  if (answer?.missing.join() !== 'truncated') throw new Error(`missing: ${answer?.missing}`);
  return { longest, all: used() - began, answer };
}

/** ms that the rules take at a tick in which several stalls get a new answer. */
function tick(answer: WaitingTasks): number {
  const waiting: { now: WaitingTasks | undefined } = { now: undefined };
  const runner = new ScenarioRunner({
    rules: RULES.filter(({ id }) => id === 'remove-stall'),
    host: {
      traits: LINUX_6_12,
      pidsWithKvmFiles: () => undefined,
      waitingTasks: () => waiting.now,
    },
  });
  runner.run((scenario) => {
    for (let i = 0; i < STALLS; i++) {
      const task = { pid: TASKS + i, comm: 'admin' };
      const device = scenario.create(scenario.parent());
      unbindBegins(scenario, { device, task, idle: true });
    }
    scenario.wait(11);
  });
  waiting.now = answer;
  const began = used();
  runner.run((scenario) => scenario.wait(1));
  const took = used() - began;
  const [violation] = runner.violations();
  if (!violation.waiters?.possible) throw new Error('no waiters were found');
  return took;
}

const proc = makeProc();
try {
  const results: Round[] = [];
  for (let i = 0; i < rounds; i++) {
    const { answer, ...turns } = await scan(proc);
    results.push({ ...turns, tick: tick(answer) });
  }
  const of = (key: keyof Round) => results.map((round) => round[key]);
  const longest = Math.max(...of('longest'), ...of('tick'));
  console.log(`\nReading ${TASKS} tasks, ${STUCK} of them blocked, ms of CPU on the event loop`);
  table([
    ['', 'longest turn', 'all turns', `a tick with ${STALLS} stalls`],
    ['waiters', spread(of('longest'), 1), spread(of('all'), 0), spread(of('tick'), 1)],
  ]);
  console.log(
    `  held at once at most ${longest.toFixed(1)} ms, ${(longest / LIMIT).toFixed(2)}× of the limit of ${LIMIT} ms`,
  );
  if (longest > LIMIT && !smoke) process.exitCode = 1;
} finally {
  rmSync(proc, { recursive: true });
}
