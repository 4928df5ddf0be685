// SPDX-License-Identifier: Apache-2.0
/**
 * Whether the reader keeps up with all that one CPU can write. Another process
 * fills the ring without pause; this one sleeps and drains as the agent does.
 * Afterwards the books must balance: what the writer tried, what the reader got,
 * and the gaps in the sequence numbers.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import type { EventCursor } from '../../src/events/cursor.ts';
import { Waiter } from '../../src/kernel/os.ts';
import { World } from '../../src/lifecycle/world.ts';
import { RULES } from '../../src/rules/catalogue.ts';
import { RuleEngine } from '../../src/rules/engine.ts';
import { readArguments } from './arguments.ts';
import { programsIn } from './build.ts';
import { Producer, type Program } from './producer.ts';
import { now, table } from './rounds.ts';
import { tapeOfLives } from './tape.ts';

/** What the agent uses when nothing else is configured. */
const RING_BYTES = 1 << 20;
/** Records between two turns of the event loop. */
const BUDGET = 4096;
const IDLE_MS = 100;

const { seconds, directory } = readArguments();
const programs = programsIn(directory);

/** Follows the sequence numbers of each CPU. */
class Sequence {
  read = 0;
  /** Records that are missing between two that were read. */
  missing = 0;
  readonly #next: number[] = [];

  note(event: EventCursor): void {
    const { cpu, seq } = event;
    this.missing += (seq - (this.#next[cpu] ?? 0)) >>> 0;
    this.#next[cpu] = (seq + 1) >>> 0;
    this.read++;
  }

  /** Records that were tried on this CPU after the last one that was read. */
  trailing(cpu: number, attempts: number): number {
    return (attempts - (this.#next[cpu] ?? 0)) >>> 0;
  }
}

interface Outcome {
  readonly elapsed: number;
  readonly busy: number;
  readonly maxBacklog: number;
}

async function keepUp(
  producer: Producer,
  program: Program,
  receive: (event: EventCursor) => void,
  clock: () => void,
): Promise<Outcome> {
  const reader = producer.reader();
  const waiter = new Waiter(producer.ringFd);
  const cpu = String(cpus().length - 1);
  const flood = spawn(programs.flood, ['3', cpu, String(seconds)], {
    stdio: ['ignore', 'inherit', 'inherit', producer.programFd(program)],
  });
  let running = true;
  const exit = once(flood, 'exit').then(([code]: number[]) => {
    running = false;
    waiter.wake();
    if (code !== 0) throw new Error(`the flood ended with exit code ${code}`);
  });
  const start = now();
  const cpuBefore = process.threadCpuUsage();
  let maxBacklog = 0;
  let ticked = start;
  while (running) {
    maxBacklog = Math.max(maxBacklog, reader.backlog);
    const read = reader.drain(BUDGET, receive);
    if (now() - ticked >= 1e9) {
      ticked = now();
      clock();
    }
    if (read > 0) await new Promise((resolve) => setImmediate(resolve));
    else await waiter.wait(IDLE_MS);
  }
  const elapsed = now() - start;
  const { user, system } = process.threadCpuUsage(cpuBefore);
  await exit;
  while (reader.drain(BUDGET, receive) > 0);
  waiter.close();
  return { elapsed, busy: ((user + system) * 1e3) / elapsed, maxBacklog };
}

/** @throws when records are unaccounted for */
function balance(producer: Producer, sequence: Sequence): { attempts: number; dropped: number } {
  let [attempts, dropped, trailing] = [0, 0, 0];
  for (const lane of producer.counts()) {
    attempts += lane.attempts;
    dropped += lane.dropped;
    trailing += sequence.trailing(lane.cpu, lane.attempts);
  }
  const { read, missing } = sequence;
  if (attempts !== read + dropped || missing + trailing !== dropped) {
    throw new Error(
      `the books do not balance: ${attempts} attempts, ${read} read, ${dropped} dropped, ` +
        `${missing} missing in sequence and ${trailing} at the end`,
    );
  }
  return { attempts, dropped };
}

async function row(title: string, program: Program, verdict: boolean): Promise<string[]> {
  const producer = new Producer(programs, RING_BYTES, tapeOfLives().tape);
  const sequence = new Sequence();
  const world = new World();
  const host = { kernel: [6, 12] as const, pidsWithKvmFiles: () => undefined };
  const engine = new RuleEngine(world, { rules: RULES, host });
  const judge = (event: EventCursor): void => {
    sequence.note(event);
    engine.check(world.apply(event));
  };
  const receive = verdict ? judge : (event: EventCursor): void => sequence.note(event);
  const outcome = await keepUp(producer, program, receive, () => engine.tick(world.now));
  const { attempts, dropped } = balance(producer, sequence);
  return [
    title,
    `${(attempts / (outcome.elapsed / 1e9) / 1e6).toFixed(2)} million`,
    attempts.toLocaleString('en'),
    String(dropped),
    `${Math.round((100 * outcome.maxBacklog) / RING_BYTES)} %`,
    `${Math.round(100 * outcome.busy)} %`,
  ];
}

console.log(`\nKeeping up with one CPU that does nothing but write, ${seconds} s each`);
table([
  ['reader', 'records/s', 'attempts = read + lost', 'lost', 'fullest', 'busy'],
  await row('sequence numbers only', 'compose', false),
  await row('whole pipeline, whole lives', 'replay', true),
]);
console.log(`  The ring has ${RING_BYTES / 1024} KiB. The books balance, per CPU and in total.`);
