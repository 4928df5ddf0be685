// SPDX-License-Identifier: Apache-2.0
/**
 * Runs the benchmarks one after the other, each in a process of its own, so that
 * what the compiler learns in one does not change another.
 */
import { spawnSync } from 'node:child_process';
import { cpus, loadavg, release } from 'node:os';
import path from 'node:path';
import { Libbpf } from '../../src/kernel/libbpf.ts';
import { readArguments } from './arguments.ts';
import { buildPrograms, removePrograms } from './build.ts';

const PARTS = ['ring-read.ts', 'pipeline.ts', 'loss.ts', 'scrape.ts', 'waiting-tasks.ts'];

const { rounds, seconds, smoke } = readArguments();
const [load] = loadavg();
const programs = buildPrograms();
try {
  for (const part of PARTS) {
    const args = ['--rounds', rounds, '--seconds', seconds, '--directory', programs.directory];
    if (smoke) args.push('--smoke');
    const file = path.join(import.meta.dirname, part);
    const { status } = spawnSync(process.execPath, ['--expose-gc', file, ...args.map(String)], {
      stdio: 'inherit',
    });
    if (status !== 0) process.exitCode = 1;
  }
} finally {
  removePrograms(programs);
}

const [cpu] = cpus();
if (smoke) console.log('\nA smoke test: the results are right, but the times mean nothing.');
else
  console.log(`
Medians of ${rounds} rounds (least–most); the ratio is computed for each round; ns are ns of CPU. Records
are written by the code of the probes under BPF_PROG_TEST_RUN. Its time is a lower bound of the cost of
a probe: the kprobe itself, the objects that it would sample and waking the reader are missing.
${cpu.model}, ${cpus().length} CPUs, load ${load.toFixed(1)} at the start; Linux ${release()}; Node ${process.versions.node};
libbpf ${Libbpf.get().version.replace('v', '')}.`);
