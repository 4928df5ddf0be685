// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { LabError } from './errors.ts';

/**
 * One row of the kernel matrix, kernels.json. In the name of a package `{abi}` stands for what
 * `image` captures, and `{series}` for its first two numbers.
 */
export interface KernelEntry {
  /** Debian suites that have the packages, such as "bookworm" and "bookworm-security". */
  suites: readonly string[];
  /** Pattern of the image's package name; its first group is the ABI name. The newest match is taken. */
  image: string;
  imagePackages: readonly string[];
  /** What it takes to build drivers; without it the kernel boots, but has no sample drivers. */
  build?: BuildEntry;
  /** Why KVM cannot be used in the lab. */
  withoutKvm?: string;
  /** Arguments for the kernel command line. */
  append: readonly string[];
}

export interface BuildEntry {
  headerPackages: readonly string[];
  /**
   * For headers whose programs do not run on this machine: they and these packages are unpacked
   * with all that they depend on, and drivers are built in there. busybox stands for a shell and
   * the small tools.
   */
  toolPackages?: readonly string[];
  /** For instance "CC=gcc-12", where this machine lacks the compiler the kernel was built with. */
  makeArguments: readonly string[];
  sourcePackage: string;
  samples: { directory: string; modules: readonly string[] };
  /** Whether its VFIO can be built with iommufd, which no Debian kernel has: see iommufd.ts. */
  iommufd?: true;
}

export interface KernelMatrix {
  /** The row that is booted unless another one is asked for. */
  default: string;
  /** Loaded by init, in this order; built-in ones are skipped. */
  bootModules: readonly string[];
  /** Can be loaded by modprobe; a kernel need not have all of them. */
  modules: readonly string[];
  kernels: Readonly<Record<string, KernelEntry>>;
}

/** Reads the kernel matrix. */
export function readMatrix(): KernelMatrix {
  const text = readFileSync(new URL('kernels.json', import.meta.url), 'utf8');
  return JSON.parse(text) as KernelMatrix;
}

/** Whether the lab can do all that the tests do: run VMs, and build the sample drivers. */
export function isWhole({ build, withoutKvm }: KernelEntry): boolean {
  return build !== undefined && withoutKvm === undefined;
}

/** What follows the id of a row to name the same kernel with iommufd and device cdevs. */
const WITH_IOMMUFD = '-iommufd';

/** The ids of all kernels that can be booted. */
export function kernelIds({ kernels }: KernelMatrix): string[] {
  return Object.entries(kernels).flatMap(([id, { build }]) =>
    build?.iommufd ? [id, `${id}${WITH_IOMMUFD}`] : [id],
  );
}

/** The ids of the kernels on which the lab can do all that the tests do. */
export function wholeKernels(matrix: KernelMatrix): string[] {
  return kernelIds(matrix).filter((id) => isWhole(chooseKernel(matrix, id).entry));
}

/** What an id names. */
export interface KernelChoice {
  /** The id of the row, whose packages are used. */
  row: string;
  entry: KernelEntry;
  hasIommufd: boolean;
}

/** Finds the kernel of an id. @throws an error that lists the known ids */
export function chooseKernel(matrix: KernelMatrix, id: string): KernelChoice {
  for (const [row, entry] of Object.entries(matrix.kernels)) {
    if (id === row) return { row, entry, hasIommufd: false };
    if (entry.build?.iommufd && id === row + WITH_IOMMUFD) return { row, entry, hasIommufd: true };
  }
  throw new LabError(
    `no kernel "${id}" in kernels.json; there are: ${kernelIds(matrix).join(', ')}`,
  );
}

export interface ResolvedPackages {
  abi: string;
  image: readonly string[];
  headers: readonly string[];
  tools: readonly string[];
  source: string | undefined;
}

/** Picks the newest image among the package names a suite has, and names what belongs to it. */
export function resolvePackages(
  id: string,
  entry: KernelEntry,
  names: readonly string[],
): ResolvedPackages {
  const pattern = new RegExp(entry.image);
  const abis = names.flatMap((name) => pattern.exec(name)?.[1] ?? []);
  const abi = abis.sort(compareVersions).at(-1);
  if (abi === undefined) {
    throw new LabError(
      `no package of ${entry.suites.join(', ')} matches ${entry.image} (kernel ${id}); ` +
        'run: apt-get update, or correct the pattern in test/lab/kernels.json',
    );
  }
  const series = abi.split('.', 2).join('.');
  const fill = (name: string) => name.replaceAll('{abi}', abi).replaceAll('{series}', series);
  return {
    abi,
    image: entry.imagePackages.map(fill),
    headers: (entry.build?.headerPackages ?? []).map(fill),
    tools: (entry.build?.toolPackages ?? []).map(fill),
    source: entry.build === undefined ? undefined : fill(entry.build.sourcePackage),
  };
}

/** Orders version strings by their numbers, so that 6.12.9 comes before 6.12.117. */
export function compareVersions(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

/** Changes with the row of a kernel, so that a stale cache is not used. */
export function recipeHash(matrix: KernelMatrix, entry: KernelEntry): string {
  const { bootModules, modules } = matrix;
  return createHash('sha256')
    .update(JSON.stringify({ bootModules, modules, entry }))
    .digest('hex')
    .slice(0, 8);
}
