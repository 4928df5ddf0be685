/** The writers' account of the ring buffer, one line per CPU, read from the kernel's own memory. */
import { LANE, WIRE } from '../events/wire.gen.ts';
import { Mapping, PAGE_SIZE } from './os.ts';

export interface LaneCounts {
  readonly cpu: number;
  /** Records that this CPU tried to write. */
  readonly attempts: number;
  /** Of those, how many found the ring full. */
  readonly dropped: number;
  /** Calls whose return could not be told apart because too many were in flight. */
  readonly callsFull: number;
  /** Objects that did not look as they should, so that nothing could be said of them. */
  readonly unreadable: number;
}

export class Lanes {
  readonly #mapping: Mapping;
  readonly #words: Uint32Array;
  readonly #cpus: number;

  /** @param fd the `lanes` map @param cpus its number of entries */
  constructor(fd: number, cpus: number) {
    const bytes = Math.ceil((cpus * WIRE.laneSize) / PAGE_SIZE) * PAGE_SIZE;
    this.#mapping = new Mapping('the per-CPU counters', fd, 0, bytes, false);
    this.#words = new Uint32Array(this.#mapping.buffer);
    this.#cpus = cpus;
  }

  counts(): LaneCounts[] {
    return Array.from({ length: this.#cpus }, (_, cpu) => ({
      cpu,
      attempts: this.#read(cpu, LANE.attempts),
      dropped: this.#read(cpu, LANE.dropped),
      callsFull: this.#read(cpu, LANE.calls_full),
      unreadable: this.#read(cpu, LANE.unreadable),
    }));
  }

  /** Records of all CPUs that found the ring full; asked after each drain, so it makes no objects. */
  dropped(): number {
    let sum = 0;
    for (let cpu = 0; cpu < this.#cpus; cpu++) sum += this.#read(cpu, LANE.dropped);
    return sum;
  }

  #read(cpu: number, field: number): number {
    const at = (cpu * WIRE.laneSize + field) >> 2;
    return this.#words[at] + this.#words[at + 1] * 2 ** 32;
  }

  close(): void {
    this.#mapping.unmap();
  }
}
