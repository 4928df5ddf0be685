// SPDX-License-Identifier: Apache-2.0
/** How much memory a piece of code allocates, whether or not it is freed. */
import { getHeapStatistics } from 'node:v8';
import { median } from './rounds.ts';

export interface Allocated {
  /** Bytes on V8's heap. */
  readonly heap: number;
  /** Bytes of array buffers, which are allocated outside of it. */
  readonly outside: number;
}

/**
 * Bytes that one `run` allocates: the growth of the memory without a garbage collection. A collection
 * during a run falsifies its result, which the median ignores. Needs --expose-gc.
 */
export function allocated(runs: number, prepare: () => void, run: () => void): Allocated {
  const empty = grown(
    runs,
    () => {},
    () => {},
  );
  const full = grown(runs, prepare, run);
  return { heap: full.heap - empty.heap, outside: full.outside - empty.outside };
}

function grown(runs: number, prepare: () => void, run: () => void): Allocated {
  const collect = globalThis.gc;
  if (!collect) throw new Error('allocation can only be measured with --expose-gc');
  const heap: number[] = [];
  const outside: number[] = [];
  for (let i = 0; i < runs; i++) {
    prepare();
    collect({ type: 'minor' });
    const before = getHeapStatistics();
    run();
    const after = getHeapStatistics();
    heap.push(after.used_heap_size - before.used_heap_size);
    outside.push(after.external_memory - before.external_memory);
  }
  return { heap: median(heap), outside: median(outside) };
}
