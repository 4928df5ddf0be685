// SPDX-License-Identifier: Apache-2.0
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { messageOf } from '../../src/errors.ts';
import { cacheDirectory } from './cache.ts';
import { command } from './command.ts';
import { LabError } from './errors.ts';

/** Debian's packages as apt sees them: those of this machine's release, or of another one. */
export class Apt {
  readonly #options: readonly string[];
  readonly #signal: AbortSignal | undefined;

  private constructor(options: readonly string[], signal: AbortSignal | undefined) {
    this.#options = options;
    this.#signal = signal;
  }

  /** Gives access to suites; those of another release get lists of their own in the cache. */
  static async open(suites: readonly string[], signal?: AbortSignal): Promise<Apt> {
    const release = await codename();
    if (suites.every((suite) => baseOf(suite) === release)) {
      return new Apt([], signal);
    }
    const directory = path.join(cacheDirectory(), 'apt', suites.join('+'));
    const lists = path.join(directory, 'lists');
    const sources = path.join(directory, 'sources.list');
    await mkdir(path.join(lists, 'partial'), { recursive: true });
    await writeFile(sources, sourceLines(suites, release, await knownArchives(signal)));
    const settings = {
      'Dir::Etc::SourceList': sources,
      'Dir::Etc::SourceParts': '/dev/null',
      'Dir::State::Lists': lists,
      // apt would overwrite this machine's package cache with the one of the other release.
      'Dir::Cache::pkgcache': '',
      'Dir::Cache::srcpkgcache': '',
    };
    const apt = new Apt(
      Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
      signal,
    );
    await apt.#run('apt-get', 'update');
    return apt;
  }

  /** The names of all packages that begin with `prefix`. */
  async names(prefix: string): Promise<string[]> {
    const names = await this.#run('apt-cache', 'pkgnames', prefix);
    return names.split('\n').filter((name) => name !== '');
  }

  /** These packages and all that they depend on, as if nothing were installed. */
  async withDependencies(names: readonly string[]): Promise<string[]> {
    const empty = ['-o', 'Dir::State::status=/dev/null', '--no-install-recommends'];
    const plan = await this.#run('apt-get', ...empty, '--simulate', 'install', ...names);
    return [...plan.matchAll(/^Inst (\S+)/gm)].map(([, name = '']) => name);
  }

  /** Downloads packages into `directory` and returns the version of each. */
  async download(names: readonly string[], directory: string): Promise<Map<string, string>> {
    try {
      await command('apt-get', [...this.#options, 'download', ...names], {
        cwd: directory,
        signal: this.#signal,
      });
    } catch (error) {
      this.#signal?.throwIfAborted();
      const remediation = 'if a package is gone, run: apt-get update';
      throw new LabError(`${messageOf(error)}\n${remediation}`);
    }
    const versions = new Map<string, string>();
    for (const name of names) {
      const archive = await archiveOf(name, directory);
      const version = await command('dpkg-deb', ['--field', archive, 'Version']);
      versions.set(name, version.trim());
    }
    return versions;
  }

  #run(tool: string, ...args: readonly string[]): Promise<string> {
    return command(tool, [...this.#options, ...args], { signal: this.#signal });
  }
}

/** Unpacks a downloaded package into `target` without installing it, and deletes the download. */
export async function unpackPackage(
  name: string,
  directory: string,
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  const archive = await archiveOf(name, directory);
  await command('dpkg-deb', ['--extract', archive, target], { signal });
  await rm(archive);
}

/** An archive that this machine's apt uses, and the suite it uses of it. */
export interface Archive {
  suite: string;
  uri: string;
}

/** The sources.list of other suites, from the same archives as this machine's release. */
export function sourceLines(
  suites: readonly string[],
  release: string,
  archives: readonly Archive[],
): string {
  const lines = suites.map((suite) => {
    // bullseye-security is where bookworm-security is, not where bookworm is; backports are where releases are.
    const suffix = suite.slice(baseOf(suite).length);
    const own = suffix === '-backports' ? release : release + suffix;
    const archive = archives.find((candidate) => candidate.suite === own);
    if (archive === undefined) {
      throw new LabError(`no archive for ${suite}: apt on this machine has no source for ${own}`);
    }
    return `deb ${archive.uri} ${suite} main\n`;
  });
  return lines.join('');
}

function baseOf(suite: string): string {
  return suite.split('-', 1)[0] ?? suite;
}

async function codename(): Promise<string> {
  const text = await readFile('/etc/os-release', 'utf8');
  const name = /^VERSION_CODENAME=(\w+)$/m.exec(text)?.[1];
  if (name === undefined) {
    throw new LabError('/etc/os-release has no VERSION_CODENAME; the lab needs a Debian machine');
  }
  return name;
}

async function knownArchives(signal: AbortSignal | undefined): Promise<Archive[]> {
  const format = '$(CODENAME) $(REPO_URI)';
  const targets = ['indextargets', '--format', format, 'Identifier: Packages'];
  const lines = (await command('apt-get', targets, { signal })).trim().split('\n');
  return lines.map((line) => {
    const [suite = '', uri = ''] = line.split(' ');
    return { suite, uri };
  });
}

async function archiveOf(name: string, directory: string): Promise<string> {
  const files = await readdir(directory);
  const file = files.find((entry) => entry.startsWith(`${name}_`) && entry.endsWith('.deb'));
  if (file === undefined) {
    throw new LabError(`apt-get download ${name} left no package in ${directory}`);
  }
  return path.join(directory, file);
}
