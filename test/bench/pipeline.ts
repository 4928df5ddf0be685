// SPDX-License-Identifier: Apache-2.0
/**
 * The cost of an event from the ring to the evaluation of the rules (ring, decoder, lifecycle, all
 * rules, duration metrics), compared with what the kernel needs to write its record. A fill of the
 * ring is one pass of a recorded scenario.
 */
import { IngestState } from '../../agent/runtime/ingest-state.ts';
import { Pipeline } from '../../agent/runtime/pipeline.ts';
import { RULES } from '../../src/catalogue.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { Vm } from '../../src/lifecycle/objects.ts';
import type { World } from '../../src/lifecycle/world.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { Durations } from '../../src/telemetry/durations.ts';
import { SECOND } from '../../src/units.ts';
import { allocated } from './allocation.ts';
import { readArguments } from './arguments.ts';
import { programsIn } from './build.ts';
import { mustBeLegal } from './legal.ts';
import { Producer, type Program } from './producer.ts';
import {
  type RecordedScenario,
  recordedLifecycles,
  recordedReferences,
  type Totals,
} from './recorded-scenario.ts';
import { type Round, ratio, spread, table } from './rounds.ts';

const RING_BYTES = 1 << 20;
const EVENTS_PER_ROUND = 500_000;
const WARM_UP_EVENTS = 5_000_000;
const ALLOCATION_PASSES = 200;

const { rounds, warmUp, directory } = readArguments();

interface Measured extends Round {
  readonly copy: number;
}

/** The agent's pipeline on a ring of its own. */
class Bench {
  readonly state = new IngestState({ bootId: 'boot', endedObjects: 1000 });
  readonly pipeline = new Pipeline(this.state, {
    rules: { rules: RULES, host: { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined } },
    sinks: [new Durations()],
  });
  passes = 0;
  readonly #scenario: RecordedScenario;
  readonly #producer: Producer;
  readonly #reader;
  #ticked = 0;

  constructor(scenario: RecordedScenario) {
    this.#scenario = scenario;
    this.#producer = new Producer(programsIn(directory), RING_BYTES, scenario);
    this.#reader = this.#producer.reader();
  }

  /** @returns ns of CPU that the kernel took to write one pass of the recorded scenario */
  fill(program: Program): number {
    return this.#producer.produce(program, this.#scenario.records.length);
  }

  /** @returns ns of CPU that the pipeline took for it */
  drain(): number {
    const { length } = this.#scenario.records;
    const { world } = this.state;
    const { rules, record } = this.pipeline;
    const start = this.#producer.native.cpuTime();
    const read = this.#reader.drain(length + 1, record);
    // As often as the agent does it.
    if (world.now - this.#ticked >= SECOND) {
      this.#ticked = world.now;
      rules.tick(world.now);
    }
    const elapsed = this.#producer.native.cpuTime() - start;
    if (read !== length) throw new Error(`${length} records were written and ${read} read`);
    this.passes++;
    return elapsed;
  }

  run(events: number): Measured {
    const { length } = this.#scenario.records;
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
    this.run(warmUp * WARM_UP_EVENTS);
    const results = Array.from({ length: rounds }, () => this.run(EVENTS_PER_ROUND));
    const column = (pick: (result: Measured) => number) => spread(results.map(pick), 0);
    const { heap, outside } = allocated(
      ALLOCATION_PASSES,
      () => this.fill('copy'),
      () => this.drain(),
    );
    const { length } = this.#scenario.records;
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

/** The serial number of a new object: the difference of two is the number of objects between them. */
function serial(): number {
  return new Vm(0, false, 0).serial;
}

/** @throws when the pipeline tracked fewer or more objects than the recorded scenario has */
function check({ state, pipeline, passes }: Bench, totals: Totals, objects: number): string {
  const { parents, devices, opens, vms } = totals;
  const expected = passes * (parents + devices + opens + vms);
  mustBeLegal(pipeline);
  const left = sizes(state.world);
  const wrong = Object.entries(left).filter(([, size]) => size !== 0);
  if (wrong.length > 0 || objects !== expected) {
    const what = wrong.map(([name, size]) => `${size} ${name}`).join(', ');
    throw new Error(
      `${objects} objects were tracked of ${expected}; left at the end: ${what || 'nothing'}`,
    );
  }
  return `${passes} passes had ${objects} objects, all of them tracked; the world is empty, no rule fired.`;
}

function sizes(world: World) {
  return {
    parents: world.parents.size + world.parents.indexed,
    devices: world.devices.size + world.devices.indexed,
    registrations: world.vdevKeys.size,
    opens: world.opens.size + world.opens.indexed,
    vms: world.vms.size + world.vms.indexed,
    groups: world.groups.size,
    calls: world.calls.size,
  };
}

const { scenario, totals } = recordedLifecycles();
const objects = new Bench(scenario);
const before = serial();
const lifecyclesRow = objects.row('whole lifecycles');
const verdict = check(objects, totals, serial() - before - 1);

const references = recordedReferences();
const hot = new Bench(references.scenario);
for (const record of references.setup.records) {
  hot.pipeline.dispatcher.apply(new EventCursor(record.buffer as ArrayBuffer));
}
const hotRow = hot.row('kvm.get and kvm.put of known VMs');
mustBeLegal(hot.pipeline);

console.log('\nFrom the ring to the evaluation of the rules, ns per event');
table([
  ['events', 'pipeline', 'kernel, to write one', 'ratio (target ≤ 1.0×)', 'bare copy', 'B/event'],
  lifecyclesRow,
  hotRow,
]);
console.log(`  B/event: allocated on the heap + in array buffers. Bare copy: a BPF program that only
  reserves, copies and submits. A pass of whole lifecycles is ${scenario.records.length} events.
  ${verdict}`);
