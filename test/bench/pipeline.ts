// SPDX-License-Identifier: Apache-2.0
/**
 * What an event costs from the ring to the verdict of the rules (ring, decoder,
 * lifecycle, all rules, duration metrics), against what the kernel needs to
 * write its record. A fill of the ring is one pass of a tape.
 */
import { Pipeline } from '../../agent/runtime/pipeline.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { Vm } from '../../src/lifecycle/objects.ts';
import type { World } from '../../src/lifecycle/world.ts';
import { RULES } from '../../src/rules/catalogue.ts';
import { Durations } from '../../src/telemetry/durations.ts';
import { allocated } from './allocation.ts';
import { readArguments } from './arguments.ts';
import { programsIn } from './build.ts';
import { Producer, type Program } from './producer.ts';
import { type Round, ratio, spread, table } from './rounds.ts';
import { type Tape, type Told, tapeOfLives, tapeOfReferences } from './tape.ts';

const RING_BYTES = 1 << 20;
const EVENTS_PER_ROUND = 500_000;
const WARM_UP_EVENTS = 5_000_000;
const ALLOCATION_PASSES = 200;

const { rounds, directory } = readArguments();

interface Measured extends Round {
  readonly copy: number;
}

/** The agent's pipeline on a ring of its own. */
class Bench {
  readonly pipeline = new Pipeline(
    { endedLives: 1000 },
    { rules: RULES, host: { kernel: [6, 12], pidsWithKvmFiles: () => undefined } },
    'boot',
  );
  passes = 0;
  readonly #tape: Tape;
  readonly #producer: Producer;
  readonly #reader;
  #ticked = 0;

  constructor(tape: Tape) {
    this.#tape = tape;
    this.#producer = new Producer(programsIn(directory), RING_BYTES, tape);
    this.#reader = this.#producer.reader();
    const durations = new Durations();
    this.pipeline.addSink((moment) => durations.take(moment));
  }

  /** @returns ns of CPU that the kernel took to write one pass of the tape */
  fill(program: Program): number {
    return this.#producer.produce(program, this.#tape.records.length);
  }

  /** @returns ns of CPU that the pipeline took for it */
  drain(): number {
    const { length } = this.#tape.records;
    const { world, rules, record } = this.pipeline;
    const start = this.#producer.native.cpuTime();
    const read = this.#reader.drain(length + 1, record);
    // As often as the agent does it.
    if (world.now - this.#ticked >= 1e9) {
      this.#ticked = world.now;
      rules.tick(world.now);
    }
    const elapsed = this.#producer.native.cpuTime() - start;
    if (read !== length) throw new Error(`${length} records were made and ${read} read`);
    this.passes++;
    return elapsed;
  }

  run(events: number): Measured {
    const { length } = this.#tape.records;
    const passes = Math.ceil(events / length / 2);
    let [ours, peer, copy] = [0, 0, 0];
    for (let pass = 0; pass < passes; pass++) {
      peer += this.fill('probe');
      ours += this.drain();
      copy += this.fill('copy');
      ours += this.drain();
    }
    const total = passes * length;
    return { ours: ours / total / 2, peer: peer / total, copy: copy / total };
  }

  /** @returns the row of the table */
  row(title: string): string[] {
    this.run(WARM_UP_EVENTS);
    const results = Array.from({ length: rounds }, () => this.run(EVENTS_PER_ROUND));
    const column = (pick: (result: Measured) => number) => spread(results.map(pick), 0);
    const { heap, outside } = allocated(
      ALLOCATION_PASSES,
      () => this.fill('copy'),
      () => this.drain(),
    );
    const { length } = this.#tape.records;
    return [
      title,
      column(({ ours }) => ours),
      column(({ peer }) => peer),
      ratio(results),
      column(({ copy }) => copy),
      `${(heap / length).toFixed(1)} + ${(outside / length).toFixed(1)}`,
    ];
  }
}

/** Every life has a serial number, so two of them tell how many there were in between. */
function serial(): number {
  return new Vm(0, false, 0).serial;
}

/** @throws when the pipeline did not see what the tape told, or more than that */
function check({ pipeline, passes }: Bench, told: Told, lives: number): string {
  const { parents, devices, opens, vms } = told;
  const expected = passes * (parents + devices + opens + vms);
  const left = { ...sizes(pipeline.world), ...quiet(pipeline) };
  const wrong = Object.entries(left).filter(([, size]) => size !== 0);
  if (wrong.length > 0 || lives !== expected) {
    const what = wrong.map(([name, size]) => `${size} ${name}`).join(', ');
    throw new Error(`${lives} lives of ${expected} told; left at the end: ${what || 'nothing'}`);
  }
  return `${passes} passes made ${lives} lives, as told; the world is empty, no rule fired.`;
}

/** What must be 0 in any legal story that was read whole. */
function quiet({ rules, lost, sequence }: Pipeline) {
  const losses = Object.values(lost).reduce((sum, count) => sum + count, sequence.lost);
  return { violations: rules.list().length, 'findings held back': rules.heldBack.size, losses };
}

function sizes(world: World) {
  const { creating, removing, releasing, fetching, vmCreating, vmDestroying } = world;
  const calls = [creating, removing, releasing, fetching, vmCreating, vmDestroying];
  return {
    parents: world.parents.size + world.parentKeys.size,
    devices: world.devices.size + world.deviceKeys.size + world.devicesByName.size,
    registrations: world.vdevKeys.size,
    opens: world.openKeys.size,
    vms: world.vms.size + world.vmKeys.size,
    groups: world.groups.size,
    calls: calls.reduce((sum, { size }) => sum + size, 0),
  };
}

const { tape, told } = tapeOfLives();
const lives = new Bench(tape);
const before = serial();
const livesRow = lives.row('whole lives');
const verdict = check(lives, told, serial() - before - 1);

const references = tapeOfReferences();
const hot = new Bench(references.tape);
for (const record of references.setup.records) {
  hot.pipeline.world.apply(new EventCursor(record.buffer as ArrayBuffer));
}
const hotRow = hot.row('kvm.get and kvm.put of known VMs');
const noise = Object.entries(quiet(hot.pipeline)).filter(([, count]) => count !== 0);
if (noise.length > 0) throw new Error(`the references of known VMs led to ${noise.join(', ')}`);

console.log('\nFrom the ring to the verdict of the rules, ns per event');
table([
  ['events', 'pipeline', 'kernel, to write one', 'ratio (target ≤ 1.0×)', 'bare copy', 'B/event'],
  livesRow,
  hotRow,
]);
console.log(`  B/event: allocated on the heap + in array buffers. Bare copy: a BPF program that only
  takes room, copies and submits. A pass of whole lives is ${tape.records.length} events.
  ${verdict}`);
