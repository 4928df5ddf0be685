// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { VM_MS } from '../until.ts';
import { EXIT_TIMEOUT, LabError } from './errors.ts';
import { bootLab } from './lab.ts';

const MAIN = `${import.meta.dirname}/main.ts`;

function lab(...args: string[]): ChildProcess & { said: string; printed: string } {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const result = Object.assign(child, { said: '', printed: '' });
  child.stdout.on('data', (chunk: Buffer) => {
    result.printed += chunk;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    result.said += chunk;
  });
  return result;
}

/** Whether a QEMU with this text in its command line runs. */
async function isRunning(word: string): Promise<boolean> {
  const { stdout } = await promisify(execFile)('ps', ['-eo', 'stat,args']);
  return stdout
    .split('\n')
    .some((line) => !line.startsWith('Z') && line.includes('qemu-system') && line.includes(word));
}

test('the program prints the output of the command and ends with its code', async () => {
  const child = lab('--', 'sh', '-c', 'echo out; exit 7');
  const [code] = await once(child, 'close');
  assert.equal(code, 7);
  assert.equal(child.printed, 'out\n');
  assert.match(child.said, /lab {2}boot .* s\nlab {2}command .*exit 7/);
});

test('a terminated program leaves no VM behind', async () => {
  const mark = `lab.mark=${process.pid}`;
  const child = lab('-q', '--append', mark, '--', 'sh', '-c', 'echo up; sleep 60');
  await once(child.stdout as NonNullable<ChildProcess['stdout']>, 'data');
  assert.equal(await isRunning(mark), true);
  child.kill('SIGTERM');
  const [code] = await once(child, 'close');
  assert.equal(code, 143);
  assert.match(child.said, /interrupted by SIGTERM/);
  assert.equal(await isRunning(mark), false);
});

test('a killed program leaves no VM behind', async () => {
  const mark = `lab.kill=${process.pid}`;
  const child = lab('-q', '--append', mark, '--', 'sh', '-c', 'echo up; sleep 60');
  await once(child.stdout as NonNullable<ChildProcess['stdout']>, 'data');
  child.kill('SIGKILL');
  await once(child, 'close');
  while (await isRunning(mark)) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
});

test('a VM that exceeds its limit reports what it was running', async () => {
  await assert.rejects(
    bootLab({ kernel: '6.12', timeoutMs: 500 }),
    (error) =>
      error instanceof LabError &&
      error.exitCode === EXIT_TIMEOUT &&
      error.message.includes('it was booting'),
  );
});

test('a panic ends the command with the last lines of the kernel', async () => {
  const vm = await bootLab({ kernel: '6.12', timeoutMs: VM_MS });
  await assert.rejects(
    vm.run(['sh', '-c', 'echo c > /proc/sysrq-trigger']),
    /the VM ended by itself.*Kernel panic.*Call Trace/s,
  );
  const problems = await vm.problems();
  assert.ok(problems.some((line) => line.includes('Kernel panic')));
  await vm.close();
});
