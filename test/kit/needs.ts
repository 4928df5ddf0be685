// SPDX-License-Identifier: Apache-2.0
// What a test needs of the machine. A test that lacks some of it is skipped, with the reason, so that
// `npm run test:unit` is of use without root, Debian or a build. In CI nothing is skipped for that.

import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it, test } from 'node:test';
import { messageOf } from '../../src/errors.ts';
import { Libbpf } from '../../src/kernel/libbpf.ts';

/** Debian's packages of programs that are not named like them. */
const PACKAGES: Readonly<Record<string, string>> = {
  promtool: 'prometheus',
  amtool: 'prometheus-alertmanager',
  vmalert: 'victoria-metrics',
};

const BUILT = new URL('../../dist/bpf/vfioscope.bpf.o', import.meta.url);
const BPF_FS = 0xcafe4a11;
/**
 * `build` are the probe objects that `npm run build:bpf` makes, `libbpf` is the shared library, `bpffs` a BPF
 * file system where systemd mounts it; all others are programs.
 */
export type Need = 'root' | 'build' | 'libbpf' | 'bpffs' | (string & {});

/** The reason to skip a test, for `skip` of node:test; false when everything is there. In CI a BPF file system alone may be missing. */
export function lacks(...needs: readonly Need[]): string | false {
  const judged = process.env.CI === 'true' ? needs.filter((need) => need === 'bpffs') : needs;
  return missing(judged, process.env.PATH ?? '');
}

/**
 * What a test file takes of node:test, when all of it has the same needs. Where something is missing, its
 * hooks do nothing and each of its tests is skipped and counted, with the reason.
 */
export function needing(...needs: readonly Need[]) {
  const skip = lacks(...needs);
  if (skip === false) return { after, afterEach, before, beforeEach, describe, it, test };
  const hook = () => {};
  const skipped = ((name: string) => it(name, { skip })) as typeof it;
  return {
    ...{ after: hook, afterEach: hook, before: hook, beforeEach: hook },
    ...{ describe, it: skipped, test: skipped },
  };
}

/** As {@link lacks}, wherever it runs. */
export function missing(needs: readonly Need[], path: string): string | false {
  const reasons = needs.map((need) => reason(need, path)).filter((each) => each !== undefined);
  return reasons.length > 0 && reasons.join(', ');
}

function reason(need: Need, path: string): string | undefined {
  switch (need) {
    case 'root':
      return process.getuid?.() === 0 ? undefined : 'needs root, to load BPF programs';
    case 'build':
      return existsSync(BUILT) ? undefined : 'needs dist/bpf (npm run build:bpf)';
    case 'bpffs':
      return hasBpfFs() ? undefined : 'needs a BPF file system at /sys/fs/bpf';
    case 'libbpf':
      return withoutLibrary();
    default:
      return hasProgram(need, path)
        ? undefined
        : `needs the program ${need} (Debian package ${PACKAGES[need] ?? need})`;
  }
}

function hasBpfFs(): boolean {
  try {
    return statfsSync('/sys/fs/bpf').type === BPF_FS;
  } catch {
    return false;
  }
}

function hasProgram(name: string, path: string): boolean {
  return path.split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function withoutLibrary(): string | undefined {
  try {
    Libbpf.get();
    return undefined;
  } catch (error) {
    return `needs libbpf: ${messageOf(error)}`;
  }
}
