// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:os';
import type { Duplex } from 'node:stream';
import { getSystemErrorMessage } from 'node:util';

import { EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, LabError } from './errors.ts';
import type { Frame, RunRequest } from './frames.ts';
import { encodeFrame, encodeRun, FrameDecoder, MAX_PAYLOAD } from './frames.ts';

export interface GuestExit {
  /** The exit code, or 128 + signal as in a shell. */
  exitCode: number;
  signal: number;
}

export interface OutputHandlers {
  onStdout: (chunk: Buffer) => void;
  onStderr: (chunk: Buffer) => void;
}

const SIGNALLED = 128;

/** A command that runs in the VM. */
export class GuestProcess {
  readonly request: RunRequest;
  /** Rejected if the command could not start, or if the VM ended before it. */
  readonly exit: Promise<GuestExit>;
  readonly #send: (type: string, payload?: Buffer) => void;

  constructor(
    request: RunRequest,
    exit: Promise<GuestExit>,
    send: (type: string, payload?: Buffer) => void,
  ) {
    this.request = request;
    this.exit = exit;
    this.#send = send;
    // A caller that waits for it gets the error; one that does not must not end the process by it.
    exit.catch(() => {});
  }

  /** Writes to the command's stdin. */
  write(data: string | Buffer): void {
    const bytes = Buffer.from(data);
    for (let offset = 0; offset < bytes.length; offset += MAX_PAYLOAD) {
      this.#send('I', bytes.subarray(offset, offset + MAX_PAYLOAD));
    }
  }

  /** Ends the command's stdin. */
  end(): void {
    this.#send('I');
  }

  /** Sends a signal to the command and its children. */
  signal(name: NodeJS.Signals): void {
    this.#send('S', Buffer.of(constants.signals[name]));
  }

  /** Sets the window size of a command on a terminal. */
  resize(rows: number, columns: number): void {
    const payload = Buffer.alloc(4);
    payload.writeUInt16LE(rows, 0);
    payload.writeUInt16LE(columns, 2);
    this.#send('W', payload);
  }
}

interface Entry {
  request: RunRequest;
  handlers: OutputHandlers;
  exit: PromiseWithResolvers<GuestExit>;
}

/** The host's end of the runner's protocol. */
export class Guest {
  readonly ready: Promise<string>;
  readonly #stream: Duplex;
  readonly #running = new Map<number, Entry>();
  readonly #pings = new Map<number, () => void>();
  readonly #hello = Promise.withResolvers<string>();
  readonly #onKernelRecord: (record: string) => void;
  #nextId = 1;
  #failure: Error | undefined;

  constructor(stream: Duplex, onKernelRecord: (record: string) => void) {
    this.#stream = stream;
    this.#onKernelRecord = onKernelRecord;
    this.ready = this.#hello.promise;
    this.ready.catch(() => {});
    const decoder = new FrameDecoder();
    stream.on('data', (chunk: Buffer) => {
      for (const frame of decoder.push(chunk)) {
        this.#receive(frame);
      }
    });
    // The end of QEMU reports the end of the VM; here the broken stream must only not throw.
    stream.on('error', () => {});
  }

  start(request: RunRequest, handlers: OutputHandlers): GuestProcess {
    if (this.#failure !== undefined) {
      throw this.#failure;
    }
    const id = this.#nextId++;
    const exit = Promise.withResolvers<GuestExit>();
    this.#running.set(id, { request, handlers, exit });
    this.#send('R', id, encodeRun(request));
    return new GuestProcess(request, exit.promise, (type, payload) =>
      this.#send(type, id, payload),
    );
  }

  /** Resolves when all that the kernel has logged so far has arrived. */
  ping(): Promise<void> {
    if (this.#failure !== undefined) {
      return Promise.resolve();
    }
    const id = this.#nextId++;
    return new Promise((resolve) => {
      this.#pings.set(id, resolve);
      this.#send('P', id);
    });
  }

  /** Commands that have not ended, oldest first. */
  running(): string[] {
    return [...this.#running.values()].map(({ request }) => request.command.join(' '));
  }

  /** Ends everything that waits for the VM. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#hello.reject(error);
    for (const { exit } of this.#running.values()) {
      exit.reject(error);
    }
    this.#running.clear();
    for (const resolve of this.#pings.values()) {
      resolve();
    }
    this.#pings.clear();
  }

  #send(type: string, id: number, payload?: Buffer): void {
    if (this.#failure === undefined) {
      this.#stream.write(encodeFrame(type, id, payload));
    }
  }

  #receive({ type, id, payload }: Frame): void {
    switch (type) {
      case 'H':
        this.#hello.resolve(payload.toString());
        break;
      case 'K':
        this.#onKernelRecord(payload.toString());
        break;
      case 'P':
        this.#pings.get(id)?.();
        this.#pings.delete(id);
        break;
      case 'O':
        this.#running.get(id)?.handlers.onStdout(payload);
        break;
      case 'E':
        this.#running.get(id)?.handlers.onStderr(payload);
        break;
      case 'X':
      case 'F':
        this.#finish(id, type, payload);
        break;
    }
  }

  #finish(id: number, type: string, payload: Buffer): void {
    const entry = this.#running.get(id);
    this.#running.delete(id);
    if (entry === undefined) {
      return;
    }
    if (type === 'F') {
      entry.exit.reject(startFailure(entry.request, payload));
      return;
    }
    const signal = payload.readUInt8(1);
    const exitCode = signal === 0 ? payload.readUInt8(0) : SIGNALLED + signal;
    entry.exit.resolve({ exitCode, signal });
  }
}

function startFailure(request: RunRequest, payload: Buffer): LabError {
  const errno = payload.readUInt8(0);
  const step = payload.toString('utf8', 1);
  const reason = getSystemErrorMessage(-errno) ?? `errno ${errno}`;
  const notFound = errno === constants.errno.ENOENT;
  const what = step === 'enter directory' ? request.cwd : (request.command[0] ?? '');
  const remediation = notFound
    ? '; the VM sees the files of this machine except /tmp, /run and /dev'
    : '';
  return new LabError(
    `could not ${step} ${what} in the VM: ${reason}${remediation}`,
    notFound ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE,
  );
}
