// SPDX-License-Identifier: Apache-2.0
import { copyFile, cp, mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { Apt, unpackPackage } from './apt.ts';
import { makeModules } from './build.ts';
import { exists } from './cache.ts';
import { command } from './command.ts';
import { LabError } from './errors.ts';
import { findBuildDirectory, relocateHeaders } from './headers.ts';
import { IOMMUFD_SOURCES } from './iommufd.ts';
import {
  type BuildEntry,
  chooseKernel,
  type KernelEntry,
  type KernelMatrix,
  resolvePackages,
} from './kernels.ts';
import {
  builtinModules,
  copyModules,
  findModules,
  indexModules,
  moduleName,
  withDependencies,
} from './modules.ts';
import { furnishToolRoot } from './tool-root.ts';
import { extractVmlinux } from './vmlinux.ts';

/** What the cache records about a kernel, kernel.json. */
export interface KernelRecord {
  release: string;
  /** Version of each Debian package that was used. */
  packages: Readonly<Record<string, string>>;
  /** Modules for init, in loading order. */
  bootModules: readonly string[];
}

/** Fetches one kernel into a scratch directory. */
export class KernelFetch {
  readonly #id: string;
  readonly #matrix: KernelMatrix;
  readonly #entry: KernelEntry;
  readonly #scratch: string;
  readonly #result: string;
  readonly #modules: string;
  readonly #headers: string;
  readonly #sources: string;
  readonly #signal: AbortSignal | undefined;

  constructor(id: string, matrix: KernelMatrix, scratch: string, signal?: AbortSignal) {
    this.#id = id;
    this.#matrix = matrix;
    this.#entry = chooseKernel(matrix, id).entry;
    this.#scratch = scratch;
    this.#result = path.join(scratch, 'kernel');
    this.#modules = path.join(this.#result, 'modules');
    this.#headers = path.join(this.#result, 'headers');
    this.#sources = path.join(scratch, 'sources');
    this.#signal = signal;
  }

  /**
   * Returns the directory with the result: vmlinux, config, modules, headers, kernel.json, and the sources
   * that iommufd is built from, if the row has it.
   */
  async fetch(): Promise<string> {
    const apt = await Apt.open(this.#entry.suites, this.#signal);
    const names = resolvePackages(this.#id, this.#entry, await apt.names('linux-image-'));
    const forBuild =
      names.tools.length === 0
        ? names.headers
        : await apt.withDependencies([...names.headers, ...names.tools]);
    const headers = forBuild.filter((name) => !names.image.includes(name));
    const source = names.source === undefined ? [] : [names.source];
    const wanted = [...names.image, ...headers, ...source];
    const versions = await apt.download(wanted, this.#scratch);

    const unpacked = path.join(this.#scratch, 'unpacked');
    await mkdir(this.#modules, { recursive: true });
    // The sources take one CPU as long as all the rest takes another.
    await allDone([
      this.#unpackSources(names.source),
      this.#unpack(names.image, unpacked).then(() => this.#unpack(headers, this.#headers)),
    ]);
    const installed = await findInstalledModules(unpacked);
    const release = path.basename(installed);
    await this.#copyKernel(release, [path.join(unpacked, 'boot'), installed]);
    const bootModules = await this.#copyModules(installed);
    if (this.#entry.build !== undefined) {
      await this.#buildSamples(this.#entry.build);
    }
    await indexModules(this.#modules, release, this.#scratch, this.#signal);

    const record: KernelRecord = { release, packages: Object.fromEntries(versions), bootModules };
    const file = path.join(this.#result, 'kernel.json');
    await writeFile(file, `${JSON.stringify(record, null, 2)}\n`);
    return this.#result;
  }

  async #unpack(names: readonly string[], target: string): Promise<void> {
    for (const name of names) {
      await unpackPackage(name, this.#scratch, target, this.#signal);
    }
  }

  async #unpackSources(source: string | undefined): Promise<void> {
    const build = this.#entry.build;
    if (source === undefined || build === undefined) {
      return;
    }
    await this.#unpack([source], path.join(this.#scratch, 'source'));
    const tarball = path.join(this.#scratch, 'source', 'usr', 'src', `${source}.tar.xz`);
    const wanted = [`${build.samples.directory}/*`, ...(build.iommufd ? IOMMUFD_SOURCES : [])];
    await mkdir(this.#sources);
    const members = ['--strip-components=1', '--wildcards', ...wanted.map((name) => `*/${name}`)];
    const from = ['--extract', '--xz', '--file', tarball, '--directory', this.#sources];
    await command('tar', [...from, ...members], { signal: this.#signal });
    if (build.iommufd) {
      await cp(this.#sources, path.join(this.#result, 'sources'), { recursive: true });
    }
  }

  // Up to trixie the kernel is /boot/vmlinuz-RELEASE, later it is vmlinuz beside its modules.
  async #copyKernel(release: string, places: readonly string[]): Promise<void> {
    const find = async (name: string) =>
      firstExisting(
        places.flatMap((place) => [path.join(place, `${name}-${release}`), path.join(place, name)]),
      );
    const target = path.join(this.#result, 'vmlinux');
    await extractVmlinux(await find('vmlinuz'), target, this.#signal);
    await copyFile(await find('config'), path.join(this.#result, 'config'));
  }

  async #copyModules(installed: string): Promise<string[]> {
    const { bootModules, modules } = this.#matrix;
    const files = await findModules(installed);
    const builtin = await builtinModules(installed);
    const missing = bootModules
      .map(moduleName)
      .filter((name) => !files.has(name) && !builtin.has(name));
    if (missing.length > 0) {
      throw new LabError(`the kernel has no module ${missing.join(', ')}, which init needs`);
    }
    const wanted = await withDependencies([...bootModules, ...modules], files, this.#signal);
    await copyModules(wanted, files, this.#modules, this.#signal);
    for (const list of ['modules.builtin', 'modules.builtin.modinfo', 'modules.order']) {
      await copyFile(path.join(installed, list), path.join(this.#modules, list));
    }
    return withDependencies(bootModules, files, this.#signal);
  }

  async #buildSamples({ makeArguments, samples, toolPackages }: BuildEntry): Promise<void> {
    await relocateHeaders(this.#headers);
    const toolRoot = toolPackages === undefined ? undefined : this.#headers;
    if (toolRoot !== undefined) {
      await furnishToolRoot(toolRoot, this.#signal);
    }
    const kernel = { headers: await findBuildDirectory(this.#headers), makeArguments, toolRoot };
    const directory = path.join(this.#sources, samples.directory);
    const built = await makeModules(kernel, directory, samples.modules, this.#signal);
    for (const file of built) {
      await copyFile(file, path.join(this.#modules, path.basename(file)));
    }
  }
}

// Waits for the others when one fails: what they write to is deleted then.
async function allDone(works: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(works)).find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') {
    throw failed.reason;
  }
}

async function findInstalledModules(unpacked: string): Promise<string> {
  const places = [
    ['lib', 'modules'],
    ['usr', 'lib', 'modules'],
  ];
  const all = await firstExisting(places.map((place) => path.join(unpacked, ...place)));
  const [release = ''] = await readdir(all);
  return path.join(all, release);
}

async function firstExisting(files: readonly string[]): Promise<string> {
  for (const file of files) {
    if (await exists(file)) {
      return file;
    }
  }
  throw new LabError(`the kernel packages have none of: ${files.join(', ')}`);
}
