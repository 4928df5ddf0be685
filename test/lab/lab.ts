// SPDX-License-Identifier: Apache-2.0
import { buildPrograms } from './build.ts';
import { buildInitramfs } from './initramfs.ts';
import { prepareKernel } from './prepare.ts';
import { Vm, type VmOptions } from './vm.ts';

export { buildDrivers } from './build.ts';
export type { GuestExit, GuestProcess } from './guest.ts';
export type { PreparedKernel } from './prepare.ts';
export type { RunOptions, RunResult, StartOptions, Vm } from './vm.ts';

export interface LabOptions extends VmOptions {
  /** A kernel of kernels.json, such as "6.12". */
  kernel: string;
  /** Called after each step, with the time that it took. */
  log?: ((step: string, detail: string, milliseconds: number) => void) | undefined;
}

/** Boots a kernel of the matrix in QEMU; the VM runs commands until it is closed. */
export async function bootLab(options: LabOptions): Promise<Vm> {
  const { signal, log = () => {} } = options;
  const step = async <T>(
    name: string,
    work: () => Promise<T>,
    detail: (result: T) => string,
  ): Promise<T> => {
    const start = performance.now();
    const result = await work();
    log(name, detail(result), performance.now() - start);
    return result;
  };
  const kernel = await step(
    'kernel',
    () => prepareKernel(options.kernel, signal),
    ({ release, fromCache }) => (fromCache ? `${release} (cached)` : release),
  );
  const programs = await buildPrograms(signal);
  const initramfs = await buildInitramfs(kernel, programs);
  signal?.throwIfAborted();
  return step(
    'boot',
    () => Vm.boot(options, kernel, programs, initramfs),
    () => '',
  );
}
