// SPDX-License-Identifier: Apache-2.0
/**
 * The kernel that the end-to-end tests run on, and how it differs from others: the same steps have different
 * results on it. scenario.e2e.test.ts checks that the agent derives these traits there.
 */
import type { Traits } from '../../src/events/traits.ts';
import { LAB_KERNELS } from '../../src/scenario/kernels.ts';

/** The kernel that the tests run on; `npm run lab:matrix` runs them on all. */
export const KERNEL = process.env.VFIOSCOPE_KERNEL ?? '6.12';

/** Whether the agent uses the modules' BTF; without it, every kernel is like 5.10 in that respect. */
export const MODULE_BTF = process.env.VFIOSCOPE_MODULE_BTF !== 'no';

/** @param kernel of test/lab/kernels.json */
export function traitsOf(kernel: string, moduleBtf = MODULE_BTF): Traits {
  const traits = LAB_KERNELS[kernel];
  if (!traits) throw new Error(`no traits of the kernel ${kernel} in src/scenario/kernels.ts`);
  return moduleBtf ? traits : { ...traits, opensAreCounted: false, callbacksAreDescribed: false };
}
