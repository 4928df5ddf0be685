// SPDX-License-Identifier: Apache-2.0
/**
 * Whether the arguments that programs read are those that the kernel passes. Kernels have functions of the same
 * name with other parameters, and nothing on a host shows that: kallsyms has names alone.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { parameterTypes } from './c-source.ts';
import type { JudgedPoint, SourceKernel } from './source-kernel.ts';
import { moduleOf } from './source-kernel.ts';

const BPF = new URL('../../bpf/', import.meta.url);

/** A function that a program would read wrongly. */
export interface OtherArguments {
  readonly symbol: string;
  readonly program: string;
  readonly read: readonly string[];
  readonly passed: readonly string[];
}

/** The parameters that the programs at the entry of functions declare, by program. */
export function programParameters(): Map<string, string[]> {
  const parameters = new Map<string, string[]>();
  for (const file of readdirSync(BPF).filter((name) => name.endsWith('.bpf.c'))) {
    const text = readFileSync(new URL(file, BPF), 'utf8');
    for (const [, program, list] of text.matchAll(/^int BPF_KPROBE\((\w+),?([^)]*)\)/gm)) {
      parameters.set(program, parameterTypes(list));
    }
  }
  return parameters;
}

/** What is read wrongly if these points are observed on that kernel. */
export function otherArguments(
  { symbols }: SourceKernel,
  points: readonly JudgedPoint[],
): OtherArguments[] {
  const declared = programParameters();
  const others = points.flatMap(({ module, hooks }) =>
    hooks.flatMap((hook): OtherArguments[] => {
      const { symbol, program } = hook;
      const read = declared.get(program);
      const passed = symbols[moduleOf(module, hook)]?.[symbol]?.parameters;
      if (!read || !passed || read.every((type, i) => agrees(type, passed[i]))) return [];
      return [{ symbol, program, read, passed }];
    }),
  );
  return others;
}

/** Types that differ by name alone. */
const SAME: readonly (readonly [read: string, passed: string])[] = [
  // An mdev begins with its struct device.
  ['struct mdev_device *', 'struct device *'],
  // The argument of ioctl is a pointer where the command has it so.
  ['char *', 'unsigned long'],
  ['unsigned long', 'size_t'],
  // Of a notification: for that of a VM it is the VM.
  ['struct kvm *', 'void *'],
];

function agrees(read: string, passed: string | undefined): boolean {
  if (passed === undefined) return false;
  if (read === passed || (read === 'void *' && passed.endsWith('*'))) return true;
  return SAME.some(([one, other]) => one === read && other === passed);
}
