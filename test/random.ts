// SPDX-License-Identifier: Apache-2.0
/**
 * How properties are drawn at random: the same cases everywhere, so that a failure is
 * about what was changed. `npm run hunt` draws others, many more of them. To repeat what it
 * found, run it with the seed that it printed: VFIOSCOPE_SEED=N npm run hunt.
 */
import type { Parameters } from 'fast-check';

const { VFIOSCOPE_SEED = '20190530', VFIOSCOPE_CASES = '1' } = process.env;

/** @param count of cases in a usual run; VFIOSCOPE_CASES times as many are drawn */
export function cases(count: number): Parameters<unknown> & { readonly numRuns: number } {
  const numRuns = Math.ceil(count * Number(VFIOSCOPE_CASES));
  return VFIOSCOPE_SEED === 'random' ? { numRuns } : { numRuns, seed: Number(VFIOSCOPE_SEED) };
}
