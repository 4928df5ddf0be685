// SPDX-License-Identifier: Apache-2.0
import type { GuestExit, GuestProcess } from './guest.ts';
import type { Vm } from './vm.ts';

/** A command that the kernel refused. */
export class VmmError extends Error {
  override readonly name = 'VmmError';
  /** Such as "EBUSY". */
  readonly errno: string;

  constructor(command: string, errno: string, text: string) {
    super(`${command}: ${text} (${errno})`);
    this.errno = errno;
  }
}

interface Waiting {
  command: string;
  resolve: (value: number) => void;
  reject: (error: Error) => void;
}

/** Drives vmm/vmm.c in the VM; the commands are listed at the end of that file. */
export class Vmm {
  readonly #process: GuestProcess;
  readonly #waiting: Waiting[] = [];
  #received = '';

  /** Starts it; `comm` is the process's name as the kernel shows it. */
  constructor(vm: Vm, comm = 'vmm') {
    this.#process = vm.start(['vmm', '--comm', comm], {
      onStdout: (chunk) => this.#receive(chunk.toString()),
    });
    const ended = (error: Error) => {
      for (const { reject } of this.#waiting.splice(0)) {
        reject(error);
      }
    };
    this.#process.exit.then(
      ({ exitCode }) => ended(new Error(`vmm has ended (exit ${exitCode})`)),
      ended,
    );
  }

  /** Sends one command and returns its value: a file descriptor, a process id, or 0. */
  command(command: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ command, resolve, reject });
      this.#process.write(`${command}\n`);
    });
  }

  /** Opens the group of a device, "g", in a container, "c", that has an IOMMU: then the device can be opened. */
  async openGroup(device: string): Promise<void> {
    await this.command('container open c');
    await this.command(`group open g ${device}`);
    await this.command('group attach g c');
    await this.command('container iommu c');
  }

  /** Ends it as a crash would: the kernel closes what it has open. */
  kill(): Promise<GuestExit> {
    this.#process.signal('SIGKILL');
    return this.#process.exit;
  }

  #receive(text: string): void {
    const lines = (this.#received + text).split('\n');
    this.#received = lines.pop() ?? '';
    for (const line of lines) {
      this.#answer(line);
    }
  }

  #answer(line: string): void {
    const waiting = this.#waiting.shift();
    const [outcome, value = '', ...text] = line.split(' ');
    if (outcome === 'ok') {
      waiting?.resolve(Number(value));
    } else {
      waiting?.reject(new VmmError(waiting.command, value, text.join(' ')));
    }
  }
}
