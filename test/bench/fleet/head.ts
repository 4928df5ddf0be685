// SPDX-License-Identifier: Apache-2.0
/**
 * What a Prometheus keeps in memory: live series, and those of the past, which it forgets only when it writes a
 * block, up to three hours after their last sample.
 */
import { setTimeout } from 'node:timers/promises';
import { TimeSeries } from '../../time-series.ts';
import { ownMetrics, resident } from './footprint.ts';

export interface Head {
  /** Series that have samples now. */
  readonly live: number;
  /** Series that are in memory only because they had samples. */
  readonly past: number;
  /** Bytes that the latest garbage collection has left. */
  readonly heap: number;
  /** Bytes. */
  readonly resident: number;
  /** How many times samples have left memory as a block. */
  readonly blocks: number;
}

/** Go collects garbage when the heap has doubled: GOGC is 100 unless something else is requested. */
const GROWTH = 2;

/** @returns undefined while a target cannot be scraped, because its series are not live then */
export async function headOf(engine: TimeSeries): Promise<Head | undefined> {
  if ((await engine.query('up == 0')).length > 0) return undefined;
  const [live] = await engine.query('count({__name__!=""})');
  const own = await ownMetrics(engine);
  const count = live?.values[0] ?? 0;
  return {
    live: count,
    past: Math.max(0, own('prometheus_tsdb_head_series') - count),
    heap: own('go_memstats_next_gc_bytes') / GROWTH,
    resident: resident(engine.daemons[0].pid),
    blocks: own('prometheus_tsdb_compactions_total'),
  };
}

/** The heap of a Prometheus without any series, bytes. */
export async function heapOfEmpty(): Promise<number> {
  const engine = await TimeSeries.prometheus([], '1s');
  try {
    return (await headOf(engine))?.heap ?? 0;
  } finally {
    await engine.stop();
  }
}

/** Before and after the latest block. */
export interface BlockWritten {
  readonly before: Head;
  readonly after: Head;
}

export class HeadWatch {
  /** Undefined until a block was written. */
  latest: BlockWritten | undefined;
  readonly #ended = new AbortController();
  readonly #watching: Promise<void>;

  /** @param every s between two readings */
  constructor(engine: TimeSeries, every: number) {
    this.#watching = this.#watch(engine, every);
  }

  /** @throws what reading it threw */
  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#watching;
  }

  async #watch(engine: TimeSeries, every: number): Promise<void> {
    const { signal } = this.#ended;
    /** The latest two readings: when a block is written, the later one may have the memory that this took. */
    const earlier: Head[] = [];
    while (!signal.aborted) {
      await setTimeout(every * 1000, undefined, { signal }).catch(() => undefined);
      const now = await headOf(engine);
      if (!now) continue;
      const [before = now, latest = now] = earlier;
      const { latest: written } = this;
      if (now.blocks > latest.blocks) this.latest = { before, after: now };
      // The series are forgotten after the block is written, and their memory is collected later still.
      else if (written?.after.blocks === now.blocks && now.past < written.after.past)
        this.latest = { ...written, after: now };
      earlier.push(now);
      if (earlier.length > 2) earlier.shift();
    }
  }
}

/** Bytes of memory that a live series needs, and one of the past, with the samples of both. */
export function bytesOfSeries(
  { before, after }: BlockWritten,
  idle: number,
): { readonly live: number; readonly past: number } | undefined {
  const forgotten = before.past - after.past;
  const freed = before.heap - after.heap;
  if (forgotten <= 0 || freed <= 0) return undefined;
  const past = freed / forgotten;
  return { live: (after.heap - idle - past * after.past) / after.live, past };
}
