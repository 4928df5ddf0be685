/** The per-CPU counters of records tried and lost, read from the memory that the kernel writes. */
import { CPU_COUNTERS, WIRE } from '../events/wire.gen.ts';
import { Mapping, PAGE_SIZE } from './os.ts';

export interface CpuCounts {
  readonly cpu: number;
  /** Records that this CPU tried to write. */
  readonly attempts: number;
  /** Of those, how many found the ring full. */
  readonly dropped: number;
  /** Calls whose end lost its begin, because too many calls were in flight. */
  readonly callsFull: number;
  /** Objects that failed their check, so that nothing could be emitted about them. */
  readonly unreadable: number;
}

export class CpuCounters {
  readonly #mapping: Mapping;
  readonly #words: Uint32Array;
  readonly #cpus: number;

  /** @param fd the `cpu_counters` map @param cpus its number of entries */
  constructor(fd: number, cpus: number) {
    const bytes = Math.ceil((cpus * WIRE.cpuCountersSize) / PAGE_SIZE) * PAGE_SIZE;
    this.#mapping = new Mapping('the per-CPU counters', fd, 0, bytes, false);
    this.#words = new Uint32Array(this.#mapping.buffer);
    this.#cpus = cpus;
  }

  counts(): CpuCounts[] {
    return Array.from({ length: this.#cpus }, (_, cpu) => ({
      cpu,
      attempts: this.#read(cpu, CPU_COUNTERS.attempts),
      dropped: this.#read(cpu, CPU_COUNTERS.dropped),
      callsFull: this.#read(cpu, CPU_COUNTERS.calls_full),
      unreadable: this.#read(cpu, CPU_COUNTERS.unreadable),
    }));
  }

  /** Records of all CPUs that found the ring full; read after each drain, so it allocates nothing. */
  dropped(): number {
    let sum = 0;
    for (let cpu = 0; cpu < this.#cpus; cpu++) sum += this.#read(cpu, CPU_COUNTERS.dropped);
    return sum;
  }

  #read(cpu: number, field: number): number {
    const at = (cpu * WIRE.cpuCountersSize + field) >> 2;
    return this.#words[at] + this.#words[at + 1] * 2 ** 32;
  }

  close(): void {
    this.#mapping.unmap();
  }
}
