// SPDX-License-Identifier: Apache-2.0
/**
 * The end-to-end tests on every kernel of test/lab/kernels.json, and the documents of what
 * is watched where and of correct use. Two kernels at a time, each in a VM of its own.
 *
 *   npm run lab:matrix [-- KERNEL…]
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { openSync, writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { readMatrix } from '../lab/kernels.ts';

interface Run {
  readonly title: string;
  readonly files: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** What is run on a kernel. */
function runsOn(kernel: string): Run[] {
  const common = { VFIOSCOPE_KERNEL: kernel, VFIOSCOPE_KEEP: 'yes' };
  const runs: Run[] = [
    { title: 'lives and wrong orders', files: ['scenario'], env: common },
    {
      title: 'late, lost, in and out',
      files: ['late', 'loss', 'contended', 'modules'],
      env: common,
    },
    { title: 'restarts', files: ['restart'], env: { ...common, VFIOSCOPE_RESTARTS: '20' } },
    { title: 'rules provoked', files: ['provoke'], env: common },
    { title: 'correct use', files: ['calm'], env: { ...common, VFIOSCOPE_CALM: '1' } },
  ];
  // 5.10 is always so.
  if (kernel !== '5.10') {
    const env = { ...common, VFIOSCOPE_MODULE_BTF: 'no' };
    runs.push({ title: 'without BTF of modules', files: ['scenario'], env });
  }
  return runs;
}

const known = Object.keys(readMatrix().kernels);
const wanted = process.argv.slice(2);
const unknown = wanted.filter((kernel) => !known.includes(kernel));
if (unknown.length > 0) {
  console.error(`no kernel ${unknown.join(', ')} in kernels.json; there are: ${known.join(', ')}`);
  process.exit(2);
}

const results: string[] = [];

/** Runs all of one kernel, one after the other; what they print goes to a file. */
async function runAllOn(kernel: string): Promise<void> {
  const log = `dist/matrix-${kernel}.log`;
  const output = openSync(log, 'w');
  for (const { title, files, env } of runsOn(kernel)) {
    writeSync(output, `\n== ${kernel}: ${title}\n`);
    const began = performance.now();
    const tests = files.map((name) => `test/e2e/${name}.e2e.test.ts`);
    const run = spawn(process.execPath, ['--test', '--test-concurrency=1', ...tests], {
      stdio: ['ignore', output, output],
      env: { ...process.env, ...env },
    });
    const [status] = await once(run, 'exit');
    const took = `${Math.round((performance.now() - began) / 1000)} s`;
    const result = `${status === 0 ? 'ok    ' : 'FAILED'} ${kernel.padEnd(5)} ${title} (${took})`;
    console.log(status === 0 ? result : `${result}: see ${log}`);
    results.push(result);
    if (status !== 0) process.exitCode = 1;
  }
}

const waiting = [...(wanted.length > 0 ? wanted : known)];
// A VM keeps one core busy.
const lanes = Array.from({ length: Math.min(2, availableParallelism()) }, async () => {
  for (let kernel = waiting.shift(); kernel; kernel = waiting.shift()) await runAllOn(kernel);
});
await Promise.all(lanes);
if (process.exitCode === undefined) {
  for (const document of ['support-doc', 'rules-doc', 'calm-doc']) {
    const { status } = spawnSync(process.execPath, [`test/e2e/${document}.ts`], {
      stdio: 'inherit',
    });
    if (status !== 0) process.exitCode = 1;
  }
}
console.log(`\n== the matrix\n${results.sort().join('\n')}`);
