// SPDX-License-Identifier: Apache-2.0
/** Compiles the native programs of the benchmarks, into a directory of their own. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const SOURCES = import.meta.dirname;
const WIRE_HEADERS = path.join(SOURCES, '../../bpf');
const WARNINGS = ['-Wall', '-Wextra', '-Werror'];

export interface Programs {
  readonly directory: string;
  /** The BPF object of producer.bpf.c. */
  readonly producer: string;
  /** Shared library: libbpf's consumer, and the call that runs the producer. */
  readonly library: string;
  /** The program that runs the producer without pause. */
  readonly flood: string;
}

/** Where {@link buildPrograms} puts its results in `directory`. */
export function programsIn(directory: string): Programs {
  return {
    directory,
    producer: path.join(directory, 'producer.bpf.o'),
    library: path.join(directory, 'libbench.so'),
    flood: path.join(directory, 'flood'),
  };
}

/** Compiles with the machine's clang, gcc and libbpf. @throws with the compiler's output on stderr */
export function buildPrograms(): Programs {
  const programs = programsIn(mkdtempSync(path.join(tmpdir(), 'vfioscope-bench-')));
  // The flags of bpf/Makefile, so that the code is what clang makes of the real probes.
  run('clang', [
    ...['-target', 'bpf', '-O2', '-g', '-mcpu=v3', '-std=gnu11', ...WARNINGS],
    ...['-Wno-unused-parameter', `-I${WIRE_HEADERS}`, `-I/usr/include/${machine()}-linux-gnu`],
    ...['-c', 'producer.bpf.c', '-o', programs.producer],
  ]);
  const gcc = ['-O2', ...WARNINGS, `-I${WIRE_HEADERS}`];
  const library = ['-shared', '-fPIC', 'consumer.c', 'produce.c', '-o', programs.library];
  run('gcc', [...gcc, ...library, '-lbpf']);
  run('gcc', [...gcc, 'flood.c', 'produce.c', '-o', programs.flood, '-lbpf']);
  return programs;
}

/** Deletes what {@link buildPrograms} made. */
export function removePrograms({ directory }: Programs): void {
  rmSync(directory, { recursive: true });
}

function machine(): string {
  return execFileSync('uname', ['-m'], { encoding: 'utf8' }).trim();
}

function run(compiler: string, args: readonly string[]): void {
  execFileSync(compiler, args, { cwd: SOURCES, stdio: ['ignore', 'inherit', 'inherit'] });
}
