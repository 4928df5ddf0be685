// SPDX-License-Identifier: Apache-2.0
/** The benchmarks' own C library, see produce.c and consumer.c. */
import koffi from 'koffi';
import { errnoText } from '../../src/kernel/libbpf.ts';
import type { Programs } from './build.ts';

/** What libbpf's consumer found in the ring. */
export interface Consumed {
  readonly records: number;
  /** ns of CPU. */
  readonly elapsed: number;
  /** Sums over the records' fields: time, point, pid. */
  readonly sums: readonly number[];
}

export class Native {
  /** ns of CPU that this thread had. */
  readonly cpuTime: () => number;
  readonly #produce: (program: number, count: number) => number;
  readonly #consumer: (ring: number) => bigint | null;
  readonly #consume: (consumer: bigint, reading: Float64Array) => number;

  constructor(programs: Programs) {
    const library = koffi.load(programs.library);
    this.#produce = library.func('double bench_produce(int program, int count)');
    this.cpuTime = library.func('double bench_cpu_time()');
    this.#consumer = library.func('void *bench_consumer(int ring)');
    this.#consume = library.func('int bench_consume(void *consumer, _Out_ double *reading)');
  }

  /** Runs a BPF program on this CPU, `count` times unless cut short. @returns the ns of CPU that it took */
  produce(program: number, count: number): number {
    return checked('BPF_PROG_TEST_RUN', this.#produce(program, count));
  }

  /** libbpf's ring_buffer__consume on a ring, timed in C. */
  consumer(ring: number): () => Consumed {
    const consumer = this.#consumer(ring);
    if (consumer === null) throw new Error('libbpf cannot read the ring');
    const reading = new Float64Array(4);
    return () => {
      const records = checked('ring_buffer__consume', this.#consume(consumer, reading));
      const [elapsed, ...sums] = reading;
      return { records, elapsed, sums };
    };
  }
}

function checked(what: string, result: number): number {
  if (result < 0) throw new Error(`${what}: ${errnoText(-result)}`);
  return result;
}
