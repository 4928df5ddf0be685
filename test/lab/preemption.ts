// SPDX-License-Identifier: Apache-2.0
import { LabError } from './errors.ts';

/** The kernel's preemption models, as they are called on its command line. */
export const PREEMPTION_MODELS = ['none', 'voluntary', 'full', 'lazy'] as const;
export type PreemptionModel = (typeof PREEMPTION_MODELS)[number];

const FILE = '/sys/kernel/debug/sched/preempt';

/** What is needed of a VM for that; vm.ts imports this file. */
interface BootedVm {
  readonly kernel: { readonly release: string };
  run(command: readonly string[]): Promise<{ readonly stdout: string }>;
}

/** Fails unless the kernel uses the given model: it ignores one that it does not have. */
export async function checkPreemption(vm: BootedVm, wanted: PreemptionModel): Promise<void> {
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
