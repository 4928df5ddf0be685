// SPDX-License-Identifier: Apache-2.0
/**
 * Runs the end-to-end tests on every kernel of test/lab/kernels.json, then generates the documents of
 * kernel support, rules and the soak. Two kernels run at a time, each in a VM of its own.
 *
 *   npm run lab:matrix [-- KERNEL…]
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { openSync, writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { chooseKernel, isWhole, kernelIds, readMatrix } from '../lab/kernels.ts';

interface Run {
  readonly title: string;
  /** Arguments of Node: which tests, or which program. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** The arguments of Node that run some end-to-end tests. */
function tests(...names: readonly string[]): string[] {
  const files = names.map((name) => `test/e2e/${name}.e2e.test.ts`);
  return ['--test', '--test-concurrency=1', ...files];
}

/** What is run on a kernel. */
function runsOn(kernel: string): Run[] {
  const common = { VFIOSCOPE_KERNEL: kernel, VFIOSCOPE_KEEP: 'yes' };
  const { entry } = chooseKernel(readMatrix(), kernel);
  if (!isWhole(entry)) return [{ title: 'what can be done', args: tests('partial'), env: common }];
  const runs: Run[] = [
    { title: 'lifecycles and ordering violations', args: tests('scenario'), env: common },
    {
      title: 'late start, lost events, contention, modules',
      args: tests('late', 'loss', 'contended', 'modules'),
      env: common,
    },
    { title: 'restarts', args: tests('restart'), env: { ...common, VFIOSCOPE_RESTARTS: '20' } },
    { title: 'provoked rules', args: tests('provoke'), env: common },
    {
      title: 'no-false-positive soak',
      args: tests('soak'),
      env: { ...common, VFIOSCOPE_SOAK: '1' },
    },
  ];
  // 5.10 never has it.
  if (kernel !== '5.10') {
    const env = { ...common, VFIOSCOPE_MODULE_BTF: 'no' };
    runs.push({ title: 'without module BTF', args: tests('scenario'), env });
  }
  // Nothing depends on the number that a kernel claims.
  if (kernel === '6.12') {
    for (const claim of ['uname26', 'release']) {
      const env = { VFIOSCOPE_KERNEL: kernel, VFIOSCOPE_CLAIM: claim };
      runs.push({ title: `another number (${claim})`, args: tests('scenario'), env });
    }
  }
  const withIommufd = `${kernel}-iommufd`;
  if (kernelIds(readMatrix()).includes(withIommufd)) {
    const env = { ...common, VFIOSCOPE_KERNEL: withIommufd };
    runs.push({ title: 'device cdevs and iommufd', args: tests('cdev'), env });
    const whole = { ...env, VFIOSCOPE_SOAK: '1' };
    runs.push({ title: 'no-false-positive soak over cdevs', args: tests('soak'), env: whole });
  }
  // One round beside another VM measures nothing: it only checks that the benchmark works.
  if (kernel === '6.12') {
    const args = ['test/bench/lab/main.ts', '--kernel', kernel, '--rounds', '1'];
    runs.push({ title: 'the benchmark against bpftrace', args, env: common });
  }
  return runs;
}

const known = Object.keys(readMatrix().kernels);
const wanted = process.argv.slice(2);
const unknown = wanted.filter((kernel) => !known.includes(kernel));
if (unknown.length > 0) {
  console.error(
    `no kernel ${unknown.join(', ')} in kernels.json; known kernels: ${known.join(', ')}`,
  );
  process.exit(2);
}

const results: string[] = [];

/** Runs all runs of one kernel, one after the other; their output goes to a file. */
async function runAllOn(kernel: string): Promise<void> {
  const log = `dist/matrix-${kernel}.log`;
  const output = openSync(log, 'w');
  for (const { title, args, env } of runsOn(kernel)) {
    writeSync(output, `\n== ${kernel}: ${title}\n`);
    const began = performance.now();
    const run = spawn(process.execPath, args, {
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
// Each VM keeps one core busy.
const workers = Array.from({ length: Math.min(2, availableParallelism()) }, async () => {
  for (let kernel = waiting.shift(); kernel; kernel = waiting.shift()) await runAllOn(kernel);
});
await Promise.all(workers);
if (process.exitCode === undefined) {
  for (const generator of ['kernel-support', 'rules', 'soak']) {
    const { status } = spawnSync(process.execPath, [`test/generate/${generator}.ts`], {
      stdio: 'inherit',
    });
    if (status !== 0) process.exitCode = 1;
  }
}
console.log(`\n== the matrix\n${results.sort().join('\n')}`);
