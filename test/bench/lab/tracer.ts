// SPDX-License-Identifier: Apache-2.0
/** A tracer in the VM, ours or its peer: started, measured, stopped. */
import type { GuestProcess, Vm } from '../../lab/lab.ts';

export interface Tracer {
  readonly name: string;
  readonly command: readonly string[];
  /** Its output when all is attached. */
  readonly ready: RegExp;
  readonly signal: 'SIGTERM' | 'SIGINT';
}

/** Statistics of the kernel about BPF programs. */
export interface Cost {
  /** ns. */
  readonly time: number;
  readonly runs: number;
}

const LIMIT_MS = 900_000;

export class Running {
  /** Seconds from its start until all is attached. */
  readonly attached: number;
  readonly #vm: Vm;
  readonly #name: string;
  readonly #process: GuestProcess;
  readonly #pid: number;
  readonly #signal: Tracer['signal'];

  private constructor(vm: Vm, tracer: Tracer, process: GuestProcess, pid: number, since: number) {
    this.#vm = vm;
    this.#name = tracer.name;
    this.#process = process;
    this.#pid = pid;
    this.#signal = tracer.signal;
    this.attached = (performance.now() - since) / 1000;
  }

  static async start(vm: Vm, tracer: Tracer): Promise<Running> {
    const ready = Promise.withResolvers<void>();
    let head = '';
    let since = 0;
    let isReady = false;
    const receive = (chunk: Buffer) => {
      if (isReady) return;
      head += chunk.toString();
      if (since === 0) since = performance.now();
      if (!tracer.ready.test(head)) return;
      isReady = true;
      ready.resolve();
    };
    // The shell prints its pid before it executes the tracer.
    const command = ['sh', '-c', 'echo $$; exec "$@"', 'sh', ...tracer.command];
    const process = vm.start(command, { onStdout: receive, onStderr: receive });
    const failed = process.exit.then(() => {
      throw new Error(`${tracer.name} ended before all was attached:\n${head}`);
    });
    await withLimit(Promise.race([ready.promise, failed]), `${tracer.name} to attach:\n${head}`);
    failed.catch(() => {});
    return new Running(vm, tracer, process, Number.parseInt(head, 10), since);
  }

  /** MB: now, and how much of it is not the pages of files. */
  async resident(): Promise<{ readonly all: number; readonly own: number }> {
    const { stdout } = await this.#vm.run(['cat', `/proc/${this.#pid}/status`]);
    const read = (key: string) =>
      Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(stdout)?.[1]) / 1000;
    return { all: read('VmRSS'), own: read('RssAnon') };
  }

  async stop(): Promise<void> {
    this.#process.signal(this.#signal);
    await withLimit(this.#process.exit, `${this.#name} to stop`);
  }
}

async function withLimit<T>(work: Promise<T>, what: string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`timed out waiting for ${what}`)), LIMIT_MS);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** What the agent's programs and those of the other tracer have cost so far. */
export async function costs(
  vm: Vm,
  own: ReadonlySet<string>,
): Promise<{ readonly ours: Cost; readonly peer: Cost }> {
  const { stdout } = await vm.run(['bpftool', '-j', 'prog', 'show']);
  const programs = JSON.parse(stdout) as {
    readonly type: string;
    readonly name?: string;
    readonly run_time_ns?: number;
    readonly run_cnt?: number;
  }[];
  const sum = (ours: boolean): Cost => {
    const some = programs.filter(
      ({ type, name = '' }) => type === 'kprobe' && own.has(name) === ours,
    );
    return {
      time: some.reduce((total, one) => total + (one.run_time_ns ?? 0), 0),
      runs: some.reduce((total, one) => total + (one.run_cnt ?? 0), 0),
    };
  };
  return { ours: sum(true), peer: sum(false) };
}

export function costOfEach(before: Cost, after: Cost): number {
  return (after.time - before.time) / (after.runs - before.runs);
}
