// SPDX-License-Identifier: Apache-2.0
/** The kernel's side of a benchmark: a real ring buffer and the BPF programs that fill it. */

import { POINTS } from '../../src/events/points.ts';
import { EVENT, FLAG, WIRE } from '../../src/events/wire.gen.ts';
import { CpuCounters, type CpuCounts } from '../../src/kernel/cpu-counters.ts';
import { Libbpf } from '../../src/kernel/libbpf.ts';
import { Mapping, PAGE_SIZE } from '../../src/kernel/os.ts';
import { ProbeObject } from '../../src/kernel/probe-object.ts';
import { RingReader } from '../../src/kernel/ring.ts';
import { WatchedPoints } from '../../src/kernel/watched-points.ts';
import type { Programs } from './build.ts';
import { Native } from './native.ts';
import type { RecordedScenario } from './recorded-scenario.ts';

/** What writes the next record of the scenario: the probes' own code, or a bare copy. */
export type Program = 'probe' | 'copy';

export class Producer {
  readonly ringBytes: number;
  readonly ringFd: number;
  readonly native: Native;
  readonly #object: ProbeObject;
  readonly #cpuCounters: CpuCounters;

  constructor(programs: Programs, ringBytes: number, scenario: RecordedScenario) {
    const cpus = Libbpf.get().calls.possibleCpus();
    this.native = new Native(programs);
    this.#object = ProbeObject.open(programs.producer);
    this.#object.setMaxEntries('events', ringBytes);
    this.#object.setMaxEntries('cpu_counters', cpus);
    this.#object.setMaxEntries('records', scenario.records.length);
    this.#object.load();
    this.ringBytes = ringBytes;
    this.ringFd = this.#object.mapFd('events');
    this.#cpuCounters = new CpuCounters(this.#object.mapFd('cpu_counters'), cpus);
    new WatchedPoints(this.#object.mapFd('watched')).set(Object.values(POINTS));
    this.#insert(scenario);
  }

  programFd(program: Program): number {
    return Libbpf.get().calls.programFd(this.#object.program(program));
  }

  /** Writes `count` records on this CPU. @returns the ns of CPU that it took */
  produce(program: Program, count: number): number {
    const fd = this.programFd(program);
    const end = this.attempts() + count;
    let elapsed = 0;
    for (let left = count; left > 0; left = end - this.attempts()) {
      elapsed += this.native.produce(fd, left);
    }
    return elapsed;
  }

  /** Records that were written or lost so far. */
  attempts(): number {
    return this.counts().reduce((sum, counters) => sum + counters.attempts, 0);
  }

  /** A reader of the product's kind. */
  reader(): RingReader {
    return new RingReader(this.ringFd, this.ringBytes);
  }

  /** The position up to which the ring is read, as the kernel sees it; writable. */
  consumerPosition(): BigUint64Array {
    return new BigUint64Array(
      new Mapping('the ring', this.ringFd, 0, PAGE_SIZE, true).buffer,
      0,
      1,
    );
  }

  counts(): readonly CpuCounts[] {
    return this.#cpuCounters.counts();
  }

  #insert({ records, span }: RecordedScenario): void {
    const slots = new Uint8Array(
      this.#map('records', Math.ceil((records.length * WIRE.namedSize) / PAGE_SIZE) * PAGE_SIZE),
    );
    for (const [i, record] of records.entries()) {
      if (isNamed(record) !== (record.length === WIRE.namedSize)) {
        throw new Error(
          `record ${i} of the scenario does not have the length that its flags require`,
        );
      }
      slots.set(record, i * WIRE.namedSize);
    }
    const state = new DataView(this.#map('scenario', PAGE_SIZE));
    state.setBigUint64(8, BigInt(span), true);
    state.setUint32(20, records.length, true);
  }

  #map(name: string, bytes: number): ArrayBuffer {
    return new Mapping(`map ${name}`, this.#object.mapFd(name), 0, bytes, true).buffer;
  }
}

function isNamed(record: Uint8Array): boolean {
  return (record[EVENT.flags] & FLAG.EVENT_NAMED) !== 0;
}
