// SPDX-License-Identifier: Apache-2.0
/**
 * A VM with a real kernel and the agent in it, and the operations that tests perform there.
 * It records the ground truth of what it did, so that the agent's reports can be compared with it.
 */

import { randomUUID } from 'node:crypto';
import { dirname } from 'node:path';
import { isWatched, type PointStatus } from '../../src/events/source.ts';
import type { Traits } from '../../src/events/traits.ts';
import { bootLab, type GuestProcess, type Vm } from '../lab/lab.ts';
import { Vmm, VmmError } from '../lab/vmm.ts';
import { until } from '../until.ts';
import { UNLIMITED } from './agent.ts';
import { type Claim, claimAnother } from './claims.ts';
import { untilEvaluated } from './clock.ts';
import { type OfDevices, perDevice } from './per-device.ts';
import { asRaised } from './severity.ts';
import type { supportOf } from './support.ts';
import { traitsOf } from './traits.ts';
import { type ReportedWait, Waits } from './waits.ts';

const PORT = 10055;
const MODULES = ['mdev', 'vfio', 'vfio_iommu_type1', 'kvm_amd'];
/** On kernels that bind every mdev to it. */
const OLD_MODULE = 'vfio_mdev';
const SETTINGS = 'test/recordings/settings.yaml';
/** Longer than any rule waits for a state to settle, in all settings that lab sessions use; seconds. */
const SETTLING = 5;

type Watched = Parameters<typeof supportOf>[1];

/** A device that was created, or whose create the kernel refused. */
export interface Device {
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

export interface LabSessionOptions {
  /** A kernel of test/lab/kernels.json. */
  readonly kernel: string;
  readonly timeoutMs: number;
  /** More hardware of the VM, as for QEMU's -device. */
  readonly devices?: readonly string[];
  /** More parameters of its kernel. */
  readonly append?: readonly string[];
  readonly logFormat: 'json' | 'pretty';
  /** On a terminal, so that the agent writes in colour. */
  readonly tty?: boolean;
  readonly onAgentOutput: (text: string) => void;
  /** Where to record beside the agent, on the host. */
  readonly recording?: string | undefined;
  /** The agent's settings file; the default has short waits. */
  readonly settings?: string;
  /** More flags for the agent. */
  readonly flags?: readonly string[];
  /** More variables for the agent, such as OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly env?: Readonly<Record<string, string>>;
  /** The kernel claims another number, to the agent and the recorder at least. */
  readonly claim?: Claim | undefined;
  readonly onStep?: (step: string, detail: string, milliseconds: number) => void;
  readonly signal?: AbortSignal;
}

export class LabSession {
  readonly devices: Device[] = [];
  readonly violations: ExpectedViolation[] = [];
  vms = 0;
  /** The agent's settings. */
  readonly settings: string;
  /** Where the agent in the VM is reached from here. */
  readonly url: string;
  readonly vm: Vm;
  readonly #agent: GuestProcess;
  readonly #recorder: GuestProcess | undefined;

  #watched: Watched | undefined;
  /** How the agent ended; undefined while it runs. */
  #ended: string | undefined;
  /** How this kernel's behaviour differs from that of others. */
  readonly traits: Traits;

  private constructor(
    kernel: string,
    vm: Vm,
    agent: GuestProcess,
    url: string,
    recorder: GuestProcess | undefined,
    settings: string,
  ) {
    this.settings = settings;
    this.#recorder = recorder;
    this.traits = traitsOf(kernel);
    this.vm = vm;
    this.#agent = agent;
    this.url = url;
    agent.exit.then(
      ({ exitCode }) => {
        this.#ended = `the agent ended with ${exitCode}`;
      },
      ({ message }: Error) => {
        this.#ended = message;
      },
    );
  }

  /** Boots, starts the agent before any module is loaded, loads them, and waits until all points are attached. */
  static async open(options: LabSessionOptions): Promise<LabSession> {
    const { kernel, timeoutMs, signal, onStep = () => {} } = options;
    const vm = await bootLab({
      kernel,
      timeoutMs,
      log: onStep,
      devices: options.devices,
      append: options.append,
      ...(signal ? { signal } : {}),
      ...(options.recording ? { share: dirname(options.recording) } : {}),
    });
    const start = await claimAnother(vm, options.claim);
    const started = performance.now();
    const { settings = SETTINGS } = options;
    const recorder = options.recording
      ? await startRecorder(vm, options.recording, start)
      : undefined;
    const output = (chunk: Buffer) => options.onAgentOutput(chunk.toString());
    // programs: setarch
    const agent = vm.start(
      [
        ...[...start, process.execPath, 'dist/agent/main.js', 'run'],
        ...['--config', settings, UNLIMITED],
        ...['--listen', `10.0.2.15:${PORT}`],
        ...['--log-format', options.logFormat, ...(options.flags ?? [])],
      ],
      { onStdout: output, onStderr: output, tty: options.tty ?? false, env: options.env ?? {} },
    );
    const session = new LabSession(
      kernel,
      vm,
      agent,
      `http://127.0.0.1:${await vm.forward(PORT)}`,
      recorder,
      settings,
    );
    await session.until(
      'the agent answers',
      async () => (await fetch(`${session.url}/-/healthy`)).ok,
    );
    onStep('agent', 'ready', performance.now() - started);
    for (const module of MODULES) await session.sh(`modprobe ${module}`);
    await session.try(`modprobe -q ${OLD_MODULE}`);
    await session.until('all points are attached', () => session.allAttached());
    session.#watched = await session.api<Watched>('/api/v1/probes');
    for (const driver of ['mtty', 'mdpy']) await session.sh(`modprobe ${driver}`);
    return session;
  }

  /** Which points the agent reported as attached once all modules were loaded. */
  get watched(): Watched {
    if (!this.#watched) throw new Error('the lab session is not open');
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

  until(what: string, holds: () => Promise<boolean>): Promise<void> {
    return until(what, holds, { over: () => this.#ended });
  }

  /**
   * Waits until the agent has processed all that was done so far, and has evaluated its rules so many
   * seconds later, by its own clock.
   */
  evaluated(seconds = 0): Promise<void> {
    return untilEvaluated(this.vm, this, seconds);
  }

  /** Keeps an ongoing condition until a recorder, whose seconds begin at another time, has recorded it too. */
  async untilRecorded(): Promise<void> {
    await this.evaluated(2);
  }

  async allAttached(): Promise<boolean> {
    const { points } = await this.api<{ points: PointStatus[] }>('/api/v1/probes');
    return points.length > 0 && points.every(isWatched);
  }

  /** Expects a violation, and waits until the agent has raised it. */
  async expect(rule: string, severity: string, device: string): Promise<void> {
    this.violations.push({ rule, severity, device });
    await this.until(`${rule} is raised about ${device}`, async () => {
      const { violations } = await this.api<{ violations: { rule: string; devices: string[] }[] }>(
        '/api/v1/violations',
      );
      return violations.some((one) => one.rule === rule && one.devices.includes(device));
    });
  }

  /**
   * Waits until the agent has nothing more to report about what was done. Also expects the violations
   * that it rightly reports only because the machine is slow.
   * @returns all violations that it reported, one for each device, with the severity they were raised with
   */
  async reported<Violation extends ReportedWait & OfDevices & { readonly severity: string }>(
    aboutOf: (violation: Violation) => string,
  ): Promise<readonly Violation[]> {
    await this.evaluated(SETTLING);
    const { violations: all } = await this.api<{ violations: Violation[] }>('/api/v1/violations');
    const violations = perDevice(all).map(asRaised);
    const waits = await Waits.under(this.settings);
    const expected = [...this.violations];
    for (const violation of violations) {
      const { rule, severity } = violation;
      const device = aboutOf(violation);
      const at = expected.findIndex(
        (one) => one.rule === rule && one.severity === severity && one.device === device,
      );
      if (at >= 0) expected.splice(at, 1);
      else if (waits.wasLong(violation)) this.violations.push({ rule, severity, device });
    }
    return violations;
  }

  /** The file that creates a device of the parent's first type. */
  async createFile(parent: string): Promise<string> {
    const types = `/sys/class/mdev_bus/${parent}/mdev_supported_types`;
    return this.sh(`ls -d ${types}/*/create | head -n 1`);
  }

  async create(parent: string): Promise<Device> {
    const device: Device = { uuid: randomUUID(), parent, end: 'released', opens: 0 };
    await this.sh(`echo ${device.uuid} > ${await this.createFile(parent)}`);
    this.devices.push(device);
    return device;
  }

  /** A create that the kernel refuses. */
  async createRefused(parent: string, uuid: string): Promise<void> {
    if (await this.try(`echo ${uuid} > ${await this.createFile(parent)} 2>/dev/null`)) {
      throw new Error(`the kernel created ${uuid} on ${parent} although it exists`);
    }
    this.devices.push({ uuid, parent, end: 'failed', opens: 0 });
  }

  async remove(device: Device): Promise<void> {
    await this.sh(`echo 1 > /sys/bus/mdev/devices/${device.uuid}/remove`);
  }

  /** Begins to remove a device that is open; the returned promise ends with the removal. */
  removeInBackground(device: Device): Promise<unknown> {
    return this.sh(`echo 1 > /sys/bus/mdev/devices/${device.uuid}/remove`);
  }

  vmm(comm: string): Vmm {
    return new Vmm(this.vm, comm);
  }

  /** Starts a VMM in the correct order: VM, container, group, kvm-vfio, device. */
  async start(vmm: Vmm, name: string, device: Device): Promise<void> {
    await vmm.command(`start ${name} ${device.uuid}`);
    device.opens++;
    this.vms++;
  }

  /** Sends a command that the kernel must refuse. */
  async refused(vmm: Vmm, command: string, errno: string): Promise<void> {
    const outcome = await vmm.command(command).then(
      () => 'success',
      (error: unknown) => (error instanceof VmmError ? error.errno : String(error)),
    );
    if (outcome !== errno) throw new Error(`${command}: expected ${errno}, got ${outcome}`);
  }

  /** Unloads the drivers, which also removes the devices that could not be removed otherwise. */
  async unloadDrivers(): Promise<void> {
    await this.sh('modprobe -r mtty mdpy');
  }

  /** Ends the recording. @throws when it did not end well */
  async endRecording(): Promise<void> {
    if (this.#recorder) await endRecorder(this.#recorder);
  }

  async close(): Promise<void> {
    this.#agent.signal('SIGTERM');
    await Promise.race([this.#agent.exit, new Promise((resolve) => setTimeout(resolve, 10_000))]);
    await this.vm.close();
  }
}

/** Starts to record after the modules are loaded, so that the recording has every event of the steps. */
export async function startRecorder(
  vm: Vm,
  path: string,
  start: readonly string[],
): Promise<GuestProcess> {
  const commands = [...MODULES, OLD_MODULE].map((module) => `modprobe -q ${module}`);
  await vm.run(['sh', '-c', commands.join('; ')]);
  const began = Promise.withResolvers<void>();
  let output = '';
  const receive = (chunk: Buffer) => {
    output += chunk.toString();
    if (output.startsWith('recording ')) began.resolve();
  };
  // programs: setarch
  const recorder = vm.start(
    [...start, process.execPath, 'dist/agent/main.js', 'record', path, '--force'],
    { onStdout: receive, onStderr: receive },
  );
  recorder.exit.then(() =>
    began.reject(new Error(`the recorder ended before it recorded: ${output}`)),
  );
  await began.promise;
  return recorder;
}

/** @throws when it did not end well */
export async function endRecorder(recorder: GuestProcess): Promise<void> {
  recorder.signal('SIGTERM');
  const { exitCode } = await recorder.exit;
  if (exitCode !== 0) throw new Error(`the recorder ended with ${exitCode}`);
}
