// SPDX-License-Identifier: Apache-2.0
import { LabError } from './errors.ts';
import type { Vm } from './vm.ts';

/** When the kernel lets another task have the CPU, as it is called on its command line. */
export const PREEMPTION_MODELS = ['none', 'voluntary', 'full', 'lazy'] as const;
export type PreemptionModel = (typeof PREEMPTION_MODELS)[number];

const FILE = '/sys/kernel/debug/sched/preempt';

/** Fails unless the kernel has done as it was told: it ignores a model that it does not have. */
export async function checkPreemption(vm: Vm, wanted: PreemptionModel): Promise<void> {
  const { stdout } = await vm.run(['cat', FILE]);
  const problem = preemptionProblem(stdout, wanted);
  if (problem !== undefined) {
    throw new LabError(`kernel ${vm.kernel.release} ${problem}`);
  }
}

/** What is wrong with the kernel's list of models, in which the current one is in parentheses. */
export function preemptionProblem(list: string, wanted: PreemptionModel): string | undefined {
  const models = list.trim().split(' ');
  if (models.includes(`(${wanted})`)) {
    return undefined;
  }
  const there = list.trim() === '' ? 'one is compiled in' : `there are: ${list.trim()}`;
  return `cannot be booted with preempt=${wanted}; ${there}`;
}
