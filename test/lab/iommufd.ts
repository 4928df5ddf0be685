// SPDX-License-Identifier: Apache-2.0
// iommufd and device cdevs for a kernel of Debian's, which has both switched off: its own sources of
// drivers/iommu/iommufd, drivers/vfio and the sample drivers, built out of tree with both options on. The
// modules load into the kernel as Debian built it, and KVM stays as it is.
import { createHash } from 'node:crypto';
import { appendFile, copyFile, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { type BuildTarget, makeAll } from './build.ts';
import { findModules, indexModules } from './modules.ts';

const IOMMUFD = 'drivers/iommu/iommufd';
const INTERVAL_TREE = 'lib/interval_tree.c';
/** What the build needs of the kernel's sources, as patterns. */
export const IOMMUFD_SOURCES = [
  `${IOMMUFD}/*`,
  'drivers/iommu/iommu-priv.h',
  'drivers/vfio/*',
  INTERVAL_TREE,
];

const DIRECTORIES = [IOMMUFD, 'drivers/vfio', 'samples/vfio-mdev'];
/** Drivers of hardware that the lab's VM has not. Their dependencies are not at hand. */
const LEFT_OUT = [
  ...['VFIO_PLATFORM_BASE', 'VFIO_FSL_MC', 'VFIO_CDX', 'MLX5_VFIO_PCI', 'HISI_ACC_VFIO_PCI'],
  ...['PDS_VFIO_PCI', 'VIRTIO_VFIO_PCI', 'NVGRACE_GPU_VFIO_PCI', 'QAT_VFIO_PCI', 'XE_VFIO_PCI'],
];
/** For the makefiles, which list what is built, and for the sources, which otherwise see Debian's choice. */
const OPTIONS = [
  ...['CONFIG_IOMMUFD=m', 'CONFIG_VFIO_DEVICE_CDEV=y'],
  ...['CONFIG_SAMPLE_VFIO_MDEV_MTTY=m', 'CONFIG_SAMPLE_VFIO_MDEV_MDPY=m'],
  ...LEFT_OUT.map((option) => `CONFIG_${option}=n`),
  `KCFLAGS=${[
    '-DCONFIG_IOMMUFD_MODULE=1',
    '-DCONFIG_VFIO_DEVICE_CDEV=1',
    '-DCONFIG_INTERVAL_TREE_SPAN_ITER=1',
  ].join(' ')}`,
];

/** What is built from: a PreparedKernel has it. */
interface Kernel extends BuildTarget {
  directory: string;
  release: string;
  modules: string;
}

/** Changes with what {@link buildIommufd} makes of a kernel. */
export function iommufdHash({ directory, release }: Kernel): string {
  const parts = [path.basename(directory), release, DIRECTORIES, OPTIONS];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 8);
}

/** Returns a directory in `scratch` with the modules of the kernel, those of VFIO built again and iommufd. */
export async function buildIommufd(
  kernel: Kernel,
  scratch: string,
  signal?: AbortSignal,
): Promise<string> {
  const sources = path.join(scratch, 'sources');
  const modules = path.join(scratch, 'modules');
  await cp(path.join(kernel.directory, 'sources'), sources, { recursive: true });
  await addToIommufd(sources);
  const list = DIRECTORIES.map((directory) => `obj-m += ${directory}/\n`);
  await writeFile(path.join(sources, 'Kbuild'), list.join(''));
  const makeArguments = [...kernel.makeArguments, ...OPTIONS];
  await makeAll({ ...kernel, makeArguments }, sources, signal);

  await cp(kernel.modules, modules, { recursive: true });
  for (const [name, file] of await findModules(sources)) {
    await copyFile(file, path.join(modules, `${name}.ko`));
  }
  await mkdir(path.join(scratch, 'index'));
  await indexModules(modules, kernel.release, path.join(scratch, 'index'), signal);
  return modules;
}

/** Adds to the module what a kernel with iommufd has in itself: the iteration over spans of an interval tree. */
async function addToIommufd(sources: string): Promise<void> {
  const tree = await readFile(path.join(sources, INTERVAL_TREE), 'utf8');
  const [spans = ''] = /^#ifdef CONFIG_INTERVAL_TREE_SPAN_ITER.*?^#endif/ms.exec(tree) ?? [];
  await writeFile(
    path.join(sources, IOMMUFD, 'span.c'),
    `#include <linux/interval_tree.h>\n#include <linux/module.h>\n${spans.replace(/^EXPORT_SYMBOL.*$/gm, '')}\n`,
  );
  await appendFile(path.join(sources, IOMMUFD, 'Makefile'), 'iommufd-y += span.o\n');
}
