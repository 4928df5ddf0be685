// SPDX-License-Identifier: Apache-2.0
/**
 * The random cases of property tests: the same cases everywhere, so that a failure is caused by the
 * change under test. `npm run fuzz` draws other cases, and many more. To repeat its failure, run it
 * with the seed that it printed: VFIOSCOPE_SEED=N npm run fuzz.
 */
import type { Parameters } from 'fast-check';

const { VFIOSCOPE_SEED = '20190530', VFIOSCOPE_CASES = '1' } = process.env;

/** @param count of cases in a usual run; VFIOSCOPE_CASES times as many are drawn */
export function cases(count: number): Parameters<unknown> & { readonly numRuns: number } {
  const numRuns = Math.ceil(count * Number(VFIOSCOPE_CASES));
  return VFIOSCOPE_SEED === 'random' ? { numRuns } : { numRuns, seed: Number(VFIOSCOPE_SEED) };
}
