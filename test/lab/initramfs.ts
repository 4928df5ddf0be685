// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { cacheDirectory, cached } from './cache.ts';
import type { CpioEntry } from './cpio.ts';
import { cpioArchive } from './cpio.ts';
import { errorCode, LabError } from './errors.ts';
import type { PreparedKernel } from './prepare.ts';

const BUSYBOX = '/bin/busybox';
const CONSOLE = { major: 5, minor: 1 };

/** Builds the initial file system, init.sh with what it needs, and returns its file. */
export async function buildInitramfs(kernel: PreparedKernel, programs: string): Promise<string> {
  const archive = cpioArchive([
    ...['bin', 'dev', 'lab', 'lab/modules'].map(
      (name): CpioEntry => ({ path: name, directory: true }),
    ),
    // The kernel gives init its standard streams only if this exists.
    { path: 'dev/console', device: CONSOLE },
    await program('bin/busybox', await busybox()),
    await program('init', path.join(import.meta.dirname, 'init.sh')),
    await program('lab/runner', path.join(programs, 'runner')),
    ...(await Promise.all(
      kernel.bootModules.map((name) =>
        program(`lab/modules/${name}.ko`, path.join(kernel.modules, `${name}.ko`)),
      ),
    )),
    listOfModules(kernel),
  ]);
  const hash = createHash('sha256').update(archive).digest('hex').slice(0, 12);
  const { target } = await cached(
    path.join(cacheDirectory(), 'initramfs', `${hash}.cpio`),
    async (scratch) => {
      const file = path.join(scratch, 'initramfs.cpio');
      await writeFile(file, archive);
      return file;
    },
  );
  return target;
}

async function program(name: string, file: string): Promise<CpioEntry> {
  return { path: name, content: await readFile(file), mode: 0o755 };
}

function listOfModules(kernel: PreparedKernel): CpioEntry {
  const lines = kernel.bootModules.map((name) => `/lab/modules/${name}.ko\n`);
  return { path: 'lab/modules.load', content: Buffer.from(lines.join('')), mode: 0o644 };
}

async function busybox(): Promise<string> {
  try {
    await readFile(BUSYBOX);
    return BUSYBOX;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') {
      throw new LabError(
        `${BUSYBOX} was not found on this machine; run: apt-get install busybox-static`,
      );
    }
    throw error;
  }
}
