// SPDX-License-Identifier: Apache-2.0
/**
 * What an event costs from the ring to the verdict of the rules (ring, decoder,
 * lifecycle, all rules), against what the kernel needs to write its record.
 *
 * A fill is one pass of a tape, which leaves the world as it found it.
 */
import type { EventCursor } from '../../src/events/cursor.ts';
import { Vm } from '../../src/lifecycle/objects.ts';
import { World } from '../../src/lifecycle/world.ts';
import { RULES } from '../../src/rules/catalogue.ts';
import { RuleEngine } from '../../src/rules/engine.ts';
import { allocated } from './allocation.ts';
import { readArguments } from './arguments.ts';
import { programsIn } from './build.ts';
import { Producer } from './producer.ts';
import { now, type Round, ratio, spread, table } from './rounds.ts';
import { type Tape, type Told, tapeOfLives, tapeOfReferences } from './tape.ts';

const RING_BYTES = 1 << 20;
const EVENTS_PER_ROUND = 500_000;
const WARM_UP_EVENTS = 5_000_000;
const ALLOCATION_PASSES = 200;

const { rounds, directory } = readArguments();

/** All that an event goes through, with a ring of its own. */
class Pipeline {
  readonly world = new World();
  readonly engine = new RuleEngine(this.world, {
    rules: RULES,
    host: { kernel: [6, 12], pidsWithKvmFiles: () => undefined },
  });
  passes = 0;
  readonly #tape: Tape;
  readonly #producer: Producer;
  readonly #reader;
  #clock = 0;

  constructor(tape: Tape, setup?: Tape) {
    this.#tape = tape;
    this.#producer = new Producer(programsIn(directory), RING_BYTES, tape);
    this.#reader = this.#producer.reader();
    if (!setup) return;
    const first = new Producer(programsIn(directory), RING_BYTES, setup);
    first.produce('replay', setup.records.length);
    first.reader().drain(setup.records.length, this.receive);
  }

  readonly receive = (event: EventCursor): void => {
    this.engine.check(this.world.apply(event));
  };

  /** @returns ns that the kernel took to write one pass of the tape */
  fill(): number {
    return this.#producer.produce('replay', this.#tape.records.length);
  }

  /** @returns ns that the pipeline took for it */
  drain(): number {
    const { length } = this.#tape.records;
    const start = now();
    const read = this.#reader.drain(length + 1, this.receive);
    // As often as the agent does it.
    if (this.world.now - this.#clock >= 1e9) {
      this.#clock = this.world.now;
      this.engine.tick(this.#clock);
    }
    const elapsed = now() - start;
    if (read !== length) throw new Error(`${length} records were made and ${read} read`);
    this.passes++;
    return elapsed;
  }

  run(events: number): Round {
    const passes = Math.ceil(events / this.#tape.records.length);
    let [ours, peer] = [0, 0];
    for (let pass = 0; pass < passes; pass++) {
      peer += this.fill();
      ours += this.drain();
    }
    const total = passes * this.#tape.records.length;
    return { ours: ours / total, peer: peer / total };
  }

  /** @returns a row of the table */
  measure(title: string): string[] {
    this.run(WARM_UP_EVENTS);
    const results = Array.from({ length: rounds }, () => this.run(EVENTS_PER_ROUND));
    const { heap, outside } = allocated(
      ALLOCATION_PASSES,
      () => this.fill(),
      () => this.drain(),
    );
    const { length } = this.#tape.records;
    return [
      title,
      spread(
        results.map(({ ours }) => ours),
        0,
      ),
      spread(
        results.map(({ peer }) => peer),
        0,
      ),
      ratio(results),
      `${(heap / length).toFixed(1)} + ${(outside / length).toFixed(1)}`,
    ];
  }
}

/** Every life has a serial number, so two of them tell how many there were in between. */
function serial(): number {
  return new Vm(0, false, 0).serial;
}

function check({ world, engine, passes }: Pipeline, told: Told, lives: number): string {
  const { parents, devices, opens, vms } = told;
  const expected = passes * (parents + devices + opens + vms);
  const left = { ...sizes(world), violations: engine.raised.size, heldBack: engine.heldBack.size };
  const wrong = Object.entries(left).filter(([, size]) => size !== 0);
  if (wrong.length > 0 || lives !== expected) {
    const what = wrong.map(([name, size]) => `${size} ${name}`).join(', ');
    throw new Error(`${lives} lives of ${expected} told; left at the end: ${what || 'nothing'}`);
  }
  return `${passes} passes made ${lives} lives, as told; the world is empty, no rule fired.`;
}

function sizes(world: World) {
  return {
    parents: world.parents.size + world.parentKeys.size,
    devices: world.devices.size + world.deviceKeys.size + world.devicesByName.size,
    registrations: world.vdevKeys.size,
    opens: world.openKeys.size,
    vms: world.vms.size + world.vmKeys.size,
    groups: world.groups.size,
    calls:
      world.creating.size +
      world.removing.size +
      world.releasing.size +
      world.fetching.size +
      world.vmCreating.size +
      world.vmDestroying.size,
  };
}

const { tape, told } = tapeOfLives();
const references = tapeOfReferences();
const lives = new Pipeline(tape);
const before = serial();
const livesRow = lives.measure('whole lives');
const accounts = check(lives, told, serial() - before - 1);
const hot = new Pipeline(references.tape, references.setup);
const hotRow = hot.measure('kvm.get and kvm.put of known VMs');
if (hot.engine.raised.size > 0) throw new Error('the references broke a rule');

console.log('\nFrom the ring to the verdict of the rules, ns per event');
table([
  [
    'events',
    'pipeline',
    'kernel, to write one',
    'ratio (target ≤ 1.0×)',
    'B/event, heap + outside',
  ],
  livesRow,
  hotRow,
]);
console.log(`  A pass of whole lives is ${tape.records.length} events. ${accounts}`);
