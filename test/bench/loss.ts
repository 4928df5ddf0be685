// SPDX-License-Identifier: Apache-2.0
/**
 * Whether the reader keeps up with all that one CPU can write. Another process fills the ring without
 * pause; this one sleeps and drains as the agent does. Afterwards the counts must agree: the records
 * that the writer attempted, those that the reader got, and the gaps in the sequence numbers.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import { IngestState } from '../../agent/runtime/ingest-state.ts';
import { Pipeline } from '../../agent/runtime/pipeline.ts';
import { RULES } from '../../src/catalogue.ts';
import type { EventCursor } from '../../src/events/cursor.ts';
import { SequenceCheck } from '../../src/events/sequence.ts';
import { Waiter } from '../../src/kernel/os.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { Durations } from '../../src/telemetry/durations.ts';
import { readArguments } from './arguments.ts';
import { programsIn } from './build.ts';
import { noViolation } from './legal.ts';
import { Producer } from './producer.ts';
import {
  type RecordedScenario,
  recordedLifecycles,
  recordedReferences,
} from './recorded-scenario.ts';
import { table } from './rounds.ts';

const MIB = 1 << 20;
/**
 * Larger than needed, so that the largest backlog shows which size is enough: the machine may take the
 * reader's CPU away for tens of ms when it is busy or virtual. The agent's default is 1 MiB.
 */
const LARGE_RING = 64 * MIB;
/** As in agent/runtime/agent.ts. */
const BATCH = 8192;
const IDLE_MS = 1000;

const { seconds, directory } = readArguments();
const programs = programsIn(directory);

/** A reader: a receiver of events, and the check of their sequence numbers. */
interface Reading {
  readonly receive: (event: EventCursor) => void;
  readonly sequence: SequenceCheck;
  tick(): void;
  /** @throws when there is a violation that a legal recorded scenario does not lead to, even with lost records */
  verify(): void;
}

function sequenceOnly(): Reading {
  const sequence = new SequenceCheck();
  return {
    sequence,
    receive: (event) => void sequence.observe(event),
    tick: () => {},
    verify: () => {},
  };
}

function wholePipeline(): Reading {
  const host = { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined };
  const state = new IngestState({ bootId: 'boot', endedObjects: 1000 });
  const pipeline = new Pipeline(state, {
    rules: { rules: RULES, host },
    sinks: [new Durations()],
  });
  const { record, rules } = pipeline;
  const { sequence, world } = state;
  // A slow machine may lose records: the table counts them, and the rule that reports them is right.
  const verify = () => noViolation(pipeline, 'observer-gap');
  return {
    sequence,
    receive: record,
    tick: () => rules.tick(world.now),
    verify,
  };
}

/** One flood and its results. */
class Flood {
  read = 0;
  maxBacklog = 0;
  /** Seconds. */
  elapsed = 0;
  /** CPU seconds per second of the reading process, all threads. */
  busy = 0;
  readonly #producer: Producer;
  readonly #ring;
  readonly #reading: Reading;

  constructor(scenario: RecordedScenario, reading: Reading, ringBytes: number) {
    this.#producer = new Producer(programs, ringBytes, scenario);
    this.#ring = this.#producer.reader();
    this.#reading = reading;
  }

  async run(): Promise<void> {
    const waiter = new Waiter(this.#producer.ringFd);
    let running = true;
    const exit = this.#start().then(() => {
      running = false;
      waiter.wake();
    });
    const start = performance.now();
    const cpu = process.cpuUsage();
    const clock = setInterval(this.#reading.tick, 1000);
    while (running) {
      await waiter.wait(IDLE_MS);
      while (this.#drain() === BATCH) await new Promise((resolve) => setImmediate(resolve));
    }
    this.elapsed = (performance.now() - start) / 1e3;
    const { user, system } = process.cpuUsage(cpu);
    this.busy = (user + system) / 1e6 / this.elapsed;
    clearInterval(clock);
    await exit;
    while (this.#drain() > 0);
    waiter.close();
  }

  /** Starts the writer on the last CPU. Resolves when it ends, well or not. */
  async #start(): Promise<void> {
    const args = ['3', String(cpus().length - 1), String(seconds)];
    const stdio = ['ignore', 'inherit', 'inherit', this.#producer.programFd('probe')] as const;
    // programs: none (./build.ts has compiled it)
    const flood = spawn(programs.flood, args, { stdio: [...stdio] });
    const [code] = await once(flood, 'exit');
    if (code !== 0) process.exitCode = 1;
  }

  #drain(): number {
    this.maxBacklog = Math.max(this.maxBacklog, this.#ring.backlog);
    const count = this.#ring.drain(BATCH, this.#reading.receive);
    this.read += count;
    return count;
  }

  /** @throws when records are unaccounted for */
  balance(): { readonly attempts: number; readonly dropped: number } {
    let [attempts, dropped] = [0, 0];
    const gaps = this.#reading.sequence.byCpu();
    const wrong: string[] = [];
    for (const counters of this.#producer.counts()) {
      attempts += counters.attempts;
      dropped += counters.dropped;
      // Records that were lost after the last one that was read leave no gap.
      const gap = gaps[counters.cpu] ?? 0;
      if (gap > counters.dropped)
        wrong.push(`CPU ${counters.cpu} misses ${gap}, dropped ${counters.dropped}`);
    }
    if (attempts !== this.read + dropped || wrong.length > 0) {
      const sums = `${attempts} attempts, ${this.read} read, ${dropped} dropped`;
      throw new Error(`the counts do not agree: ${[sums, ...wrong].join('; ')}`);
    }
    return { attempts, dropped };
  }
}

async function row(
  title: string,
  scenario: RecordedScenario,
  reading: Reading,
  ringBytes: number,
): Promise<string[]> {
  const flood = new Flood(scenario, reading, ringBytes);
  await flood.run();
  const { attempts, dropped } = flood.balance();
  reading.verify();
  const rate = (count: number) => (count / flood.elapsed / 1e6).toFixed(2);
  return [
    title,
    `${ringBytes / MIB} MiB`,
    rate(attempts),
    rate(flood.read),
    String(attempts),
    String(dropped),
    `${(flood.maxBacklog / MIB).toFixed(1)} MiB`,
    `${Math.round(100 * flood.busy)} %`,
  ];
}

const references = recordedReferences().scenario;
const objects = recordedLifecycles().scenario;
const rows = [
  [
    'reader, events',
    'ring',
    'tried, M/s',
    'read, M/s',
    'tried = read + lost',
    'lost',
    'most unread',
    'CPU',
  ],
  await row('sequence check, kvm.get and kvm.put', references, sequenceOnly(), LARGE_RING),
  await row('the same, default ring', references, sequenceOnly(), MIB),
  await row('whole pipeline, whole lifecycles', objects, wholePipeline(), LARGE_RING),
];
console.log(`\nKeeping up with one CPU that does nothing but write records, ${seconds} s each`);
table(rows);
console.log('  The counts agree on every CPU, record by record. CPU: of the reading process.');
