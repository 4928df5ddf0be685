// SPDX-License-Identifier: Apache-2.0
import type { GuestExit, GuestProcess } from './guest.ts';
import type { Vm } from './vm.ts';

/** What the kernel answered to an order that failed. */
export class VmmError extends Error {
  override readonly name = 'VmmError';
  /** Such as "EBUSY". */
  readonly errno: string;

  constructor(order: string, errno: string, text: string) {
    super(`${order}: ${text} (${errno})`);
    this.errno = errno;
  }
}

interface Waiting {
  order: string;
  resolve: (value: number) => void;
  reject: (error: Error) => void;
}

/** Drives vmm/vmm.c in the VM; the orders are listed at the end of that file. */
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

  /** Gives one order and returns its value: a file descriptor, a process id, or 0. */
  order(order: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ order, resolve, reject });
      this.#process.write(`${order}\n`);
    });
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
      waiting?.reject(new VmmError(waiting.order, value, text.join(' ')));
    }
  }
}
