// SPDX-License-Identifier: Apache-2.0
import { mkdir, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import path from 'node:path';
import { messageOf } from '../../src/errors.ts';
import type { LabArguments } from './arguments.ts';
import { parseArguments, USAGE } from './arguments.ts';
import { cacheDirectory } from './cache.ts';
import { EXIT_LAB_FAILED, errorCode, LabError } from './errors.ts';
import { chooseKernel, kernelIds, readMatrix } from './kernels.ts';
import { bootLab, type Vm } from './lab.ts';
import { forgetKernel } from './prepare.ts';
import { runShell } from './shell.ts';

const SIGNALLED = 128;
const EXIT_BROKEN_PIPE = SIGNALLED + constants.signals.SIGPIPE;
const interrupt = new AbortController();

async function main(): Promise<number> {
  const args = parseArguments(process.argv.slice(2), process.env);
  if (args.action === 'help') {
    process.stdout.write(USAGE);
    return 0;
  }
  if (args.action === 'list') {
    printMatrix();
    return 0;
  }
  return runInVm(args);
}

function printMatrix(): void {
  const matrix = readMatrix();
  for (const id of kernelIds(matrix)) {
    const { suites, image, build } = chooseKernel(matrix, id).entry;
    process.stdout.write(
      `${id}\t${suites.join(', ')}\t${image}\tsamples: ${build?.samples.modules.join(', ') ?? 'none'}\n`,
    );
  }
}

async function runInVm(args: LabArguments): Promise<number> {
  const kernel = args.kernel ?? readMatrix().default;
  const report = reporter(args.quiet);
  if (args.refresh) {
    await forgetKernel(kernel);
  }
  const vm = await bootLab({
    ...args,
    kernel,
    signal: interrupt.signal,
    log: report,
  });
  try {
    for (const { guestPort } of args.quiet ? [] : args.forwards) {
      const port = await vm.forward(guestPort);
      process.stderr.write(`lab  forward   127.0.0.1:${port} to ${guestPort}\n`);
    }
    const started = performance.now();
    const exitCode = await (args.action === 'shell'
      ? runShell(vm, args.env)
      : runCommand(vm, args));
    report('command', `exit ${exitCode}`, performance.now() - started);
    return exitCode;
  } finally {
    await keepDmesg(vm, args);
    await vm.close();
  }
}

function reporter(quiet: boolean): (step: string, detail: string, milliseconds: number) => void {
  return (step, detail, milliseconds) => {
    if (!quiet) {
      const text = [step.padEnd(8), detail, `${(milliseconds / 1000).toFixed(1)} s`].filter(
        (part) => part !== '',
      );
      process.stderr.write(`lab  ${text.join('  ')}\n`);
    }
  };
}

async function runCommand(vm: Vm, { command, env }: LabArguments): Promise<number> {
  // programs: none (the user says which)
  const running = vm.start(command, {
    env,
    onStdout: (chunk) => process.stdout.write(chunk),
    onStderr: (chunk) => process.stderr.write(chunk),
  });
  // Reading a terminal in the background would stop the lab.
  if (process.stdin.isTTY) {
    running.end();
  } else {
    process.stdin.on('data', (chunk) => running.write(chunk));
    process.stdin.on('end', () => running.end());
  }
  const { exitCode } = await running.exit;
  return exitCode;
}

async function keepDmesg(vm: Vm, { dmesgFile, quiet }: LabArguments): Promise<void> {
  // One file per kernel, so that kept logs do not pile up.
  const file = dmesgFile ?? path.join(cacheDirectory(), 'dmesg', `${vm.kernel.id}.txt`);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, `${(await vm.dmesg()).join('\n')}\n`);
  const problems = await vm.problems();
  for (const line of problems) {
    process.stderr.write(`lab  kernel reports: ${line}\n`);
  }
  if (!quiet || problems.length > 0) {
    process.stderr.write(`lab  dmesg     ${file}\n`);
  }
}

process.stdout.on('error', () => {
  interrupt.abort(new LabError('nobody reads the output any more', EXIT_BROKEN_PIPE));
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    interrupt.abort(
      new LabError(`interrupted by ${signal}`, SIGNALLED + constants.signals[signal]),
    );
  });
}

try {
  process.exitCode = await main();
} catch (error) {
  // Neither a LabError nor an error of the system: a defect of the lab, which needs its stack.
  if (!(error instanceof LabError) && errorCode(error) === undefined) {
    throw error;
  }
  process.stderr.write(`lab: ${messageOf(error)}\n`);
  process.exitCode = error instanceof LabError ? error.exitCode : EXIT_LAB_FAILED;
}
process.stdin.destroy();
