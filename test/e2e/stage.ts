// SPDX-License-Identifier: Apache-2.0
/**
 * A VM with a real kernel and the agent in it, and the hands to do things there.
 * Keeps the ground truth of what it did, to hold the agent's account against.
 */
import { randomUUID } from 'node:crypto';
import { dirname } from 'node:path';
import { isWatched, type PointStatus } from '../../src/events/source.ts';
import { bootLab, type GuestProcess, type Vm } from '../lab/lab.ts';
import { Vmm, VmmError } from '../lab/vmm.ts';
import type { supportOf } from './support.ts';
import { type Traits, traitsOf } from './traits.ts';

const PORT = 10055;
const MODULES = ['mdev', 'vfio', 'vfio_iommu_type1', 'kvm_amd'];
/** On kernels that bind every mdev to it. */
const OLD_MODULE = 'vfio_mdev';
const SETTINGS = 'test/recordings/settings.yaml';

type Watched = Parameters<typeof supportOf>[1];

/** A device life that took place. */
export interface Life {
  readonly uuid: string;
  readonly parent: string;
  readonly end: 'released' | 'failed';
  opens: number;
}

export interface ExpectedViolation {
  readonly rule: string;
  readonly severity: string;
  readonly device: string;
}

export interface StageOptions {
  /** A kernel of test/lab/kernels.json. */
  readonly kernel: string;
  readonly timeoutMs: number;
  readonly logFormat: 'json' | 'pretty';
  /** On a terminal, so that the agent writes in colour. */
  readonly tty?: boolean;
  readonly onAgentOutput: (text: string) => void;
  /** Where to record beside the agent, on the host. */
  readonly recording?: string | undefined;
  /** The agent's settings; short waits unless told otherwise. */
  readonly settings?: string;
  /** More flags for the agent. */
  readonly flags?: readonly string[];
  /** More variables for the agent, such as OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly env?: Readonly<Record<string, string>>;
  readonly onStep?: (step: string, detail: string, milliseconds: number) => void;
  readonly signal?: AbortSignal;
}

export class Stage {
  readonly lives: Life[] = [];
  readonly violations: ExpectedViolation[] = [];
  vms = 0;
  /** Where the agent in the VM is reached from here. */
  readonly url: string;
  readonly vm: Vm;
  readonly #agent: GuestProcess;
  readonly #recorder: GuestProcess | undefined;

  #watched: Watched | undefined;
  /** What this kernel does in its own way. */
  readonly traits: Traits;

  private constructor(
    kernel: string,
    vm: Vm,
    agent: GuestProcess,
    url: string,
    recorder: GuestProcess | undefined,
  ) {
    this.#recorder = recorder;
    this.traits = traitsOf(kernel);
    this.vm = vm;
    this.#agent = agent;
    this.url = url;
  }

  /** Boots, starts the agent before any module is loaded, loads them, and waits until all is watched. */
  static async open(options: StageOptions): Promise<Stage> {
    const { kernel, timeoutMs, signal, onStep = () => {} } = options;
    const vm = await bootLab({
      kernel,
      timeoutMs,
      log: onStep,
      ...(signal ? { signal } : {}),
      ...(options.recording ? { share: dirname(options.recording) } : {}),
    });
    const started = performance.now();
    const recorder = options.recording ? await startRecorder(vm, options.recording) : undefined;
    const output = (chunk: Buffer) => options.onAgentOutput(chunk.toString());
    const agent = vm.start(
      [
        ...[process.execPath, 'dist/agent/main.js', 'run'],
        ...['--config', options.settings ?? SETTINGS],
        ...['--listen', `10.0.2.15:${PORT}`],
        ...['--log-format', options.logFormat, ...(options.flags ?? [])],
      ],
      { onStdout: output, onStderr: output, tty: options.tty ?? false, env: options.env ?? {} },
    );
    const stage = new Stage(
      kernel,
      vm,
      agent,
      `http://127.0.0.1:${await vm.forward(PORT)}`,
      recorder,
    );
    await stage.until('the agent answers', async () => (await fetch(`${stage.url}/-/healthy`)).ok);
    onStep('agent', 'ready', performance.now() - started);
    for (const module of MODULES) await stage.sh(`modprobe ${module}`);
    await stage.try(`modprobe -q ${OLD_MODULE}`);
    await stage.until('all points are watched', () => stage.allAttached());
    stage.#watched = await stage.api<Watched>('/api/v1/probes');
    for (const driver of ['mtty', 'mdpy']) await stage.sh(`modprobe ${driver}`);
    return stage;
  }

  /** What the agent said that it watches, once all modules were there. */
  get watched(): Watched {
    if (!this.#watched) throw new Error('the stage is not open');
    return this.#watched;
  }

  /** Runs a shell command in the VM. @returns its output @throws when it fails */
  sh(command: string): Promise<string> {
    return this.vm.sh(command);
  }

  /** Whether a shell command succeeds in the VM. */
  async try(command: string): Promise<boolean> {
    return (await this.vm.run(['sh', '-c', command])).exitCode === 0;
  }

  async api<T>(path: string): Promise<T> {
    const response = await fetch(`${this.url}${path}`);
    return (await response.json()) as T;
  }

  /** Polls until it holds. @throws after 30 s, naming `what` */
  async until(what: string, holds: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + 30_000;
    while (Date.now() < deadline) {
      if (await holds().catch(() => false)) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`waited 30 s in vain until ${what}`);
  }

  /** What lasts goes on until a recorder, whose seconds begin at another time, has seen it too. */
  async untilRecorded(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 1500));
  }

  async allAttached(): Promise<boolean> {
    const { points } = await this.api<{ points: PointStatus[] }>('/api/v1/probes');
    return points.length > 0 && points.every(isWatched);
  }

  /** Waits until the agent has raised it, and expects it from now on. */
  async expect(rule: string, severity: string, device: string): Promise<void> {
    this.violations.push({ rule, severity, device });
    await this.until(`${rule} is raised about ${device}`, async () => {
      const { violations } = await this.api<{ violations: { rule: string; device: string }[] }>(
        '/api/v1/violations',
      );
      return violations.some((one) => one.rule === rule && one.device === device);
    });
  }

  /** The file that creates a device of the parent's first type. */
  async createFile(parent: string): Promise<string> {
    const types = `/sys/class/mdev_bus/${parent}/mdev_supported_types`;
    return this.sh(`ls -d ${types}/*/create | head -n 1`);
  }

  async create(parent: string): Promise<Life> {
    const life: Life = { uuid: randomUUID(), parent, end: 'released', opens: 0 };
    await this.sh(`echo ${life.uuid} > ${await this.createFile(parent)}`);
    this.lives.push(life);
    return life;
  }

  /** A create that the kernel refuses. */
  async createRefused(parent: string, uuid: string): Promise<void> {
    if (await this.try(`echo ${uuid} > ${await this.createFile(parent)} 2>/dev/null`)) {
      throw new Error(`the kernel created ${uuid} on ${parent} although it exists`);
    }
    this.lives.push({ uuid, parent, end: 'failed', opens: 0 });
  }

  async remove(life: Life): Promise<void> {
    await this.sh(`echo 1 > /sys/bus/mdev/devices/${life.uuid}/remove`);
  }

  /** Begins to remove a device that is open; the returned promise ends with the removal. */
  removeInBackground(life: Life): Promise<unknown> {
    return this.sh(`echo 1 > /sys/bus/mdev/devices/${life.uuid}/remove`);
  }

  vmm(comm: string): Vmm {
    return new Vmm(this.vm, comm);
  }

  /** The order in which a good VMM starts: VM, container, group, kvm-vfio, device. */
  async start(vmm: Vmm, name: string, life: Life): Promise<void> {
    await vmm.order(`start ${name} ${life.uuid}`);
    life.opens++;
    this.vms++;
  }

  /** An order that the kernel must refuse. */
  async refused(vmm: Vmm, order: string, errno: string): Promise<void> {
    const outcome = await vmm.order(order).then(
      () => 'success',
      (error: unknown) => (error instanceof VmmError ? error.errno : String(error)),
    );
    if (outcome !== errno) throw new Error(`${order}: expected ${errno}, got ${outcome}`);
  }

  /** Removes the drivers, and with them what could not be removed otherwise. */
  async unloadDrivers(): Promise<void> {
    await this.sh('modprobe -r mtty mdpy');
  }

  /** Ends the recording. @throws when it did not end well */
  async endRecording(): Promise<void> {
    if (!this.#recorder) return;
    this.#recorder.signal('SIGTERM');
    const { exitCode } = await this.#recorder.exit;
    if (exitCode !== 0) throw new Error(`the recorder ended with ${exitCode}`);
  }

  async close(): Promise<void> {
    this.#agent.signal('SIGTERM');
    await Promise.race([this.#agent.exit, new Promise((resolve) => setTimeout(resolve, 10_000))]);
    await this.vm.close();
  }
}

/** Records all that the acts need from the first on, so the modules come before it. */
async function startRecorder(vm: Vm, path: string): Promise<GuestProcess> {
  const commands = [...MODULES, OLD_MODULE].map((module) => `modprobe -q ${module}`);
  await vm.run(['sh', '-c', commands.join('; ')]);
  const began = Promise.withResolvers<void>();
  let said = '';
  const hear = (chunk: Buffer) => {
    said += chunk.toString();
    if (said.startsWith('recording ')) began.resolve();
  };
  const recorder = vm.start([process.execPath, 'dist/agent/main.js', 'record', path, '--force'], {
    onStdout: hear,
    onStderr: hear,
  });
  recorder.exit.then(() => began.reject(new Error(`nothing is recorded: ${said}`)));
  await began.promise;
  return recorder;
}
