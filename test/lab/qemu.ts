// SPDX-License-Identifier: Apache-2.0

import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { missingTool } from './command.ts';
import { errorCode, LabError } from './errors.ts';
import { Monitor } from './monitor.ts';

const QEMU = 'qemu-system-x86_64';

// File descriptors that QEMU inherits: no paths and no ports, so that labs cannot meet.
const RUNNER_FD = 3;
const CONSOLE_FD = 4;
const MONITOR_FD = 5;

export interface MachineOptions {
  image: string;
  initramfs: string;
  /** Kernel command line. */
  append: readonly string[];
  memoryMiB: number;
  /** A host directory that the VM may write to, as 9p tag "share". */
  share?: string | undefined;
  /** More devices, as behind -device. */
  devices?: readonly string[] | undefined;
}

/** The arguments of QEMU. */
export function qemuArguments(options: MachineOptions): string[] {
  const { image, initramfs, append, memoryMiB, share, devices = [] } = options;
  return [
    ['-machine', 'q35'],
    // EPYC brings SVM, so that KVM works inside the VM. With thread=multi the kernel dies
    // of stale int3 when KVM toggles its static keys (QEMU 7.2).
    ['-accel', 'tcg,thread=single'],
    ['-cpu', 'EPYC'],
    ['-smp', '2'],
    ['-m', `${memoryMiB}`],
    ['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ['-kernel', image, '-initrd', initramfs, '-append', append.join(' ')],
    // Ahead of the lab's own: an IOMMU serves only the devices that come after it.
    devices.flatMap((device) => ['-device', device]),
    ['-chardev', `socket,id=runner,fd=${RUNNER_FD}`],
    ['-device', 'virtio-serial-pci,max_ports=2', '-device', 'virtserialport,nr=1,chardev=runner'],
    ['-chardev', `socket,id=console,fd=${CONSOLE_FD}`, '-serial', 'chardev:console'],
    ['-chardev', `socket,id=monitor,fd=${MONITOR_FD}`, '-mon', 'chardev=monitor,mode=control'],
    // Without a boot ROM: the kernel is loaded directly.
    ['-netdev', 'user,id=net0', '-device', 'virtio-net-pci,netdev=net0,romfile='],
    ['-virtfs', 'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap'],
    share === undefined
      ? []
      : [
          '-virtfs',
          `local,path=${escaped(share)},mount_tag=share,security_model=none,multidevs=remap`,
        ],
  ].flat();
}

// A comma separates the options of a QEMU argument; doubled it stands for itself.
function escaped(file: string): string {
  return file.replaceAll(',', ',,');
}

export interface MachineEnd {
  how: string;
  stderr: string;
}

/** A running QEMU. */
export class Machine {
  readonly runner: Duplex;
  readonly console: Duplex;
  readonly monitor: Monitor;
  readonly ended: Promise<MachineEnd>;
  readonly #child: ChildProcess;

  constructor(options: MachineOptions) {
    // If this process is killed, the kernel kills QEMU. In its own session QEMU does not get the
    // terminal's Ctrl-C: the lab ends it after reading the last messages.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', QEMU, ...qemuArguments(options)], {
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
    });
    this.#child = child;
    // Node types only five streams, but gives as many as were asked for: sockets, both ways.
    const streams: readonly unknown[] = child.stdio;
    this.runner = streams[RUNNER_FD] as Duplex;
    this.console = streams[CONSOLE_FD] as Duplex;
    this.monitor = new Monitor(streams[MONITOR_FD] as Duplex);
    this.console.on('error', () => {});
    this.ended = end(child);
  }

  /** Ends QEMU at once and waits until it is gone. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended.catch(() => {});
  }
}

function end(child: ChildProcess): Promise<MachineEnd> {
  const ended = new Promise<MachineEnd>((resolve, reject) => {
    let stderr = '';
    child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.on('error', (error) =>
      reject(errorCode(error) === 'ENOENT' ? missingTool('setpriv') : error),
    );
    child.on('close', (code, signal) => {
      if (stderr.includes(`setpriv: failed to execute ${QEMU}`)) {
        reject(missingTool(QEMU));
      } else {
        resolve({ how: signal ?? `exit ${code}`, stderr: stderr.trim() });
      }
    });
  });
  ended.catch(() => {});
  return ended;
}

/** Explains the end of a QEMU that should still run. */
export function unexpectedEnd({ how, stderr }: MachineEnd, lastLines: readonly string[]): LabError {
  // EPYC has more features than TCG emulates; QEMU says so for each one at every start.
  const said = stderr.split('\n').filter((line) => line !== '' && !line.includes("TCG doesn't"));
  const text = [`the VM ended by itself (QEMU: ${how})`, ...said, 'last kernel messages:'];
  return new LabError([...text, ...lastLines].join('\n'));
}
