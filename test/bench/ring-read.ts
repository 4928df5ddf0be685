// SPDX-License-Identifier: Apache-2.0
/**
 * The cost of reading a record out of the ring: RingReader compared with libbpf's
 * ring_buffer__consume, on the same ring. The kernel fills the ring while neither reads; then one of
 * them, in turn, is timed while it empties the ring. The other one reads the same bytes again, untimed,
 * and must find the same records.
 */
import type { EventCursor } from '../../src/events/cursor.ts';
import { readArguments } from './arguments.ts';
import { programsIn } from './build.ts';
import type { Consumed } from './native.ts';
import { Producer } from './producer.ts';
import {
  namedRecords,
  type RecordedScenario,
  recordedLifecycles,
  recordedReferences,
} from './recorded-scenario.ts';
import { type Round, ratio, spread, table } from './rounds.ts';

const RING_BYTES = 1 << 20;
/** How often each reader is timed in a round. */
const FILLS = 100;
/** Enough for the optimizing compiler, and for positions beyond 31 bits, which a long-running reader reaches. */
const WARM_UP_BYTES = 2 ** 31;

const { rounds, warmUp, directory } = readArguments();
const sums = new Float64Array(3);

function receive(event: EventCursor): void {
  sums[0] += event.time;
  sums[1] += event.point;
  sums[2] += event.pid;
}

interface Measured extends Round {
  readonly kernel: number;
}

/** One ring with both readers. */
class Readers {
  readonly #scenario: RecordedScenario;
  readonly #producer: Producer;
  readonly #reader;
  readonly #consume;
  readonly #position: BigUint64Array;
  #ours: Consumed | undefined;
  #theirs: Consumed | undefined;

  constructor(scenario: RecordedScenario) {
    this.#scenario = scenario;
    this.#producer = new Producer(programsIn(directory), RING_BYTES, scenario);
    this.#reader = this.#producer.reader();
    this.#consume = this.#producer.native.consumer(this.#producer.ringFd);
    this.#position = this.#producer.consumerPosition();
  }

  /** Times each reader on `fills` fills of the ring. */
  measure(fills: number): Measured {
    const { length } = this.#scenario.records;
    let [ours, peer, kernel] = [0, 0, 0];
    for (let fill = 0; fill < 2 * fills; fill++) {
      const start = this.#position[0];
      kernel += this.#producer.produce('probe', length);
      if (fill % 2 === 0) {
        ours += this.#drain();
        this.#position[0] = start;
        this.#peer();
      } else {
        peer += this.#peer();
        this.#drain();
      }
      this.#compare();
    }
    const total = length * fills;
    return { ours: ours / total, peer: peer / total, kernel: kernel / total / 2 };
  }

  /** @returns the row of the table */
  row(title: string): string[] {
    this.measure(Math.ceil((warmUp * WARM_UP_BYTES) / this.#scenario.bytes / 2));
    const results = Array.from({ length: rounds }, () => this.measure(FILLS));
    const column = (pick: (result: Measured) => number) => spread(results.map(pick), 1);
    return [
      title,
      column(({ ours }) => ours),
      column(({ peer }) => peer),
      ratio(results),
      column(({ kernel }) => kernel),
    ];
  }

  /** @returns ns of CPU that our reader took */
  #drain(): number {
    sums.fill(0);
    const start = this.#producer.native.cpuTime();
    const records = this.#reader.drain(this.#scenario.records.length + 1, receive);
    const elapsed = this.#producer.native.cpuTime() - start;
    this.#ours = { records, elapsed, sums: [...sums] };
    return elapsed;
  }

  /** @returns ns of CPU that libbpf took */
  #peer(): number {
    this.#theirs = this.#consume();
    return this.#theirs.elapsed;
  }

  #compare(): void {
    const [ours, theirs] = [this.#ours, this.#theirs];
    const { length } = this.#scenario.records;
    const agree = ours?.sums.every((sum, i) => sum === theirs?.sums[i]);
    if (ours?.records !== length || theirs?.records !== length || !agree) {
      const found = JSON.stringify({ ours, theirs });
      throw new Error(`the readers found different contents in ${length} records: ${found}`);
    }
  }
}

const objects = recordedLifecycles().scenario;
const share = Math.round((100 * namedRecords(objects)) / objects.records.length);
console.log('\nReading the ring: three fields of each record, ns per record');
table([
  ['records', 'TypeScript', 'libbpf in C', 'ratio (target ≤ 2.0×)', 'kernel, to write one'],
  new Readers(recordedReferences().scenario).row('plain, kvm.get and kvm.put'),
  new Readers(objects).row(`whole lifecycles, ${share} % with names`),
]);
