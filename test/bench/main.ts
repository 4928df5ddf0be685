// SPDX-License-Identifier: Apache-2.0
/**
 * Runs the benchmarks one after the other, each in a process of its own, so that
 * what the compiler learns in one does not change another.
 */
import { spawnSync } from 'node:child_process';
import { cpus, release } from 'node:os';
import path from 'node:path';
import { Libbpf } from '../../src/kernel/libbpf.ts';
import { readArguments } from './arguments.ts';
import { buildPrograms, removePrograms } from './build.ts';

const PARTS = ['ring-read.ts', 'pipeline.ts', 'loss.ts'];

const { rounds, seconds } = readArguments();
const programs = buildPrograms();
try {
  for (const part of PARTS) {
    const words = ['--rounds', rounds, '--seconds', seconds, '--directory', programs.directory];
    const file = path.join(import.meta.dirname, part);
    const { status } = spawnSync(process.execPath, ['--expose-gc', file, ...words.map(String)], {
      stdio: 'inherit',
    });
    if (status !== 0) process.exitCode = 1;
  }
} finally {
  removePrograms(programs);
}

const [cpu] = cpus();
console.log(`
Medians of ${rounds} rounds (least–most); the ratio is taken in each round. Records are written by
the code of the probes under BPF_PROG_TEST_RUN, without what a kprobe itself costs, without the
kernel objects that it would sample and without waking the reader: a lower bound.
${cpu.model}, ${cpus().length} CPUs; Linux ${release()}; Node ${process.version}, libbpf ${Libbpf.get().version}.`);
