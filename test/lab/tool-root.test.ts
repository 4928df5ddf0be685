// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';

import { exists } from './cache.ts';
import { command } from './command.ts';
import { furnishToolRoot, inToolRoot, SOURCES } from './tool-root.ts';

test('commands run in a root of their own, with the sources in it', async (t) => {
  const root = await mkdtemp(path.join(tmpdir(), 'tool-root-'));
  t.after(() => rm(root, { recursive: true }));
  const programs = path.join(root, 'usr', 'bin');
  await mkdir(programs, { recursive: true });
  await mkdir(path.join(root, 'usr', 'share', 'doc'), { recursive: true });
  await copyFile('/bin/busybox', path.join(programs, 'busybox'));
  await writeFile(path.join(programs, 'x-lto-dump-16'), '');
  await furnishToolRoot(root);
  assert.equal(await exists(path.join(root, 'usr', 'share')), false);
  assert.equal(await exists(path.join(programs, 'x-lto-dump-16')), false);

  const script = `ls / ${SOURCES}; echo >/dev/null; head -n 1 /proc/self/status; echo made >${SOURCES}/made`;
  const sources = path.join(root, 'driver');
  await mkdir(sources);
  await writeFile(path.join(sources, 'driver.c'), '');
  const [tool = '', ...args] = inToolRoot(root, sources, ['/bin/sh', '-c', script]);
  // programs: unshare
  const printed = await command(tool, args);
  assert.match(printed, /driver\.c\n.*head\n$/s);
  assert.match(printed, /^\/:\nbin\ndev\n/);
  assert.equal(await exists(path.join(sources, 'made')), true);
  // The mounts ended with the command.
  assert.equal(await exists(path.join(root, 'dev', 'null')), false);
});
