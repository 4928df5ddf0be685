// SPDX-License-Identifier: Apache-2.0
import { homedir } from 'node:os';

import { kernelCommandLine } from './command-line.ts';
import { KernelLog, kernelProblems, lastWords } from './dmesg.ts';
import { EXIT_TIMEOUT, LabError } from './errors.ts';
import type { GuestExit, GuestProcess, OutputHandlers } from './guest.ts';
import { Guest } from './guest.ts';
import { checkPreemption, type PreemptionModel } from './preemption.ts';
import type { PreparedKernel } from './prepare.ts';
import { Machine, unexpectedEnd } from './qemu.ts';

export interface VmOptions {
  /** The VM is killed this long after its start. */
  timeoutMs: number;
  memoryMiB?: number | undefined;
  /** Ports of the VM to reach from the host's loopback; a free host port is taken unless one is given. */
  forwards?: readonly { guestPort: number; hostPort?: number }[];
  /** The lab fails if the kernel cannot. */
  preempt?: PreemptionModel | undefined;
  /** More arguments for the kernel command line. */
  append?: readonly string[] | undefined;
  /** Devices of QEMU to add, such as "e1000e,addr=8". */
  devices?: readonly string[] | undefined;
  /** A host directory that the VM may write to, at the same path. */
  share?: string | undefined;
  onDmesg?: ((line: string) => void) | undefined;
  /** Ends the lab early. */
  signal?: AbortSignal | undefined;
}

export interface StartOptions {
  /** Added to PATH, HOME, LANG and TERM; the host's other variables stay out. */
  env?: Readonly<Record<string, string>>;
  /** The caller's directory unless given. */
  cwd?: string;
  onStdout?: (chunk: Buffer) => void;
  onStderr?: (chunk: Buffer) => void;
  /** On a pseudo terminal; all output is stdout then. */
  tty?: boolean;
}

export interface RunOptions extends Omit<StartOptions, 'tty'> {
  /** All that the command reads from stdin; without it stdin is empty. */
  input?: string | Buffer;
  /** The command is killed after this time. */
  timeoutMs?: number;
}

export interface RunResult extends GuestExit {
  /** Empty if there was a handler for it. */
  stdout: string;
  stderr: string;
}

const DEFAULT_MEMORY_MIB = 1024;
const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** A booted VM. */
export class Vm {
  readonly kernel: PreparedKernel;
  readonly #programs: string;
  readonly #machine: Machine;
  readonly #guest: Guest;
  readonly #log: KernelLog;
  readonly #limit: NodeJS.Timeout;
  readonly #forwards = new Map<number, number>();
  #booted = false;
  #closing: Promise<void> | undefined;

  private constructor(
    options: VmOptions,
    kernel: PreparedKernel,
    programs: string,
    initramfs: string,
  ) {
    const { share, memoryMiB = DEFAULT_MEMORY_MIB, timeoutMs, signal } = options;
    this.kernel = kernel;
    this.#programs = programs;
    this.#log = new KernelLog(options.onDmesg);
    this.#machine = new Machine({
      image: kernel.image,
      initramfs,
      append: kernelCommandLine(options, kernel),
      memoryMiB,
      share,
      devices: options.devices,
    });
    this.#machine.console.on('data', (chunk: Buffer) => this.#log.addConsole(chunk.toString()));
    this.#guest = new Guest(this.#machine.runner, (record) => this.#log.addRecord(record));
    this.#limit = setTimeout(() => this.#fail(this.#timeout(timeoutMs)), timeoutMs);
    signal?.addEventListener('abort', () => this.#fail(interruption(signal)), { once: true });
    this.#machine.ended.then(
      (end) => this.#fail(unexpectedEnd(end, this.#lastLines())),
      (error: Error) => this.#fail(error),
    );
  }

  /** Use bootLab, which prepares what this needs. */
  static async boot(
    options: VmOptions,
    kernel: PreparedKernel,
    programs: string,
    initramfs: string,
  ): Promise<Vm> {
    const vm = new Vm(options, kernel, programs, initramfs);
    try {
      await vm.#guest.ready;
      vm.#booted = true;
      if (options.preempt !== undefined) {
        await checkPreemption(vm, options.preempt);
      }
      for (const { guestPort, hostPort } of options.forwards ?? []) {
        await vm.forward(guestPort, hostPort);
      }
      return vm;
    } catch (error) {
      await vm.close();
      throw error;
    }
  }

  /** Starts a command and returns at once. */
  start(command: readonly string[], options: StartOptions = {}): GuestProcess {
    const handlers: OutputHandlers = {
      onStdout: options.onStdout ?? (() => {}),
      onStderr: options.onStderr ?? (() => {}),
    };
    const env = { ...this.#environment(), ...options.env };
    const { cwd = process.cwd(), tty = false } = options;
    return this.#guest.start({ command, cwd, env, tty }, handlers);
  }

  /** Runs a shell command. @returns its output @throws when it fails */
  async sh(command: string): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(['sh', '-c', command]);
    if (exitCode !== 0)
      throw new Error(`in the VM: ${command}: exit ${exitCode}: ${stderr.trim()}`);
    return stdout.trim();
  }

  /** Runs a command to its end. */
  async run(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    const running = this.start(command, {
      ...options,
      onStdout: options.onStdout ?? ((chunk) => stdout.push(chunk)),
      onStderr: options.onStderr ?? ((chunk) => stderr.push(chunk)),
    });
    if (options.input !== undefined) {
      running.write(options.input);
    }
    running.end();
    const exit = await withLimit(running, options.timeoutMs);
    return {
      ...exit,
      stdout: Buffer.concat(stdout).toString(),
      stderr: Buffer.concat(stderr).toString(),
    };
  }

  /** Makes a TCP port of the VM reachable on the host's loopback, and returns the host's port. */
  async forward(guestPort: number, hostPort = 0): Promise<number> {
    const port =
      this.#forwards.get(guestPort) ?? (await this.#machine.monitor.forward(guestPort, hostPort));
    this.#forwards.set(guestPort, port);
    return port;
  }

  /** The kernel's log so far, line by line. */
  async dmesg(): Promise<string[]> {
    await this.#guest.ping();
    return this.#log.lines();
  }

  /** The lines of the kernel's log that report a fault. */
  async problems(): Promise<string[]> {
    return kernelProblems(await this.dmesg());
  }

  /** Ends the VM with all that runs in it. The log stays readable. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.race([
      this.#guest.ping(),
      new Promise((resolve) => setTimeout(resolve, 1000).unref()),
    ]);
    this.#fail(new LabError('the VM was closed'));
    await this.#machine.kill();
  }

  #fail(error: Error): void {
    clearTimeout(this.#limit);
    this.#guest.fail(error);
    void this.#machine.kill();
  }

  #timeout(milliseconds: number): LabError {
    const running = this.#guest.running();
    const idle = this.#booted ? 'nothing ran in it' : 'it was booting';
    const what =
      running.length === 0 ? idle : `it ran:\n${running.map((line) => `  ${line}`).join('\n')}`;
    const seconds = milliseconds / 1000;
    const text = `the VM was ended after its limit of ${seconds} s, while ${what}\nlast kernel messages:`;
    return new LabError(`${text}\n${this.#lastLines().join('\n')}`, EXIT_TIMEOUT);
  }

  #lastLines(): string[] {
    return lastWords(this.#log.lines());
  }

  #environment(): Record<string, string> {
    const search = `${this.#programs}:${process.env.PATH ?? ''}:${SYSTEM_PATH}`;
    return { PATH: search, HOME: homedir(), LANG: 'C.UTF-8', TERM: process.env.TERM ?? 'dumb' };
  }
}

function interruption({ reason }: AbortSignal): Error {
  return reason instanceof Error ? reason : new LabError('the lab was interrupted');
}

async function withLimit(running: GuestProcess, timeoutMs: number | undefined): Promise<GuestExit> {
  if (timeoutMs === undefined) {
    return running.exit;
  }
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    running.signal('SIGKILL');
    const name = running.request.command.join(' ');
    late.reject(
      new LabError(`killed after its limit of ${timeoutMs / 1000} s: ${name}`, EXIT_TIMEOUT),
    );
  }, timeoutMs);
  try {
    return await Promise.race([running.exit, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
