// SPDX-License-Identifier: Apache-2.0
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';

import { LabError } from './errors.ts';

interface Reply {
  id?: number;
  return?: unknown;
  error?: { desc: string };
}

/** QEMU's machine protocol, QMP. */
export class Monitor {
  readonly #stream: Duplex;
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  #nextId = 1;

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on('error', () => {});
    const lines = createInterface({ input: stream });
    lines.on('error', () => {});
    lines.on('line', (line) => {
      const reply = JSON.parse(line) as Reply;
      if (reply.id !== undefined) {
        this.#waiting.get(reply.id)?.(reply);
        this.#waiting.delete(reply.id);
      }
    });
    lines.on('close', () => {
      for (const resolve of this.#waiting.values()) {
        resolve({ error: { desc: 'QEMU has ended' } });
      }
      this.#waiting.clear();
    });
    void this.#execute('qmp_capabilities', {});
  }

  /** Forwards a free port of the host's loopback to a port of the VM, and returns the host's port. */
  async forward(guestPort: number, hostPort: number): Promise<number> {
    const said = await this.#human(`hostfwd_add net0 tcp:127.0.0.1:${hostPort}-:${guestPort}`);
    if (said.trim() !== '') {
      throw new LabError(
        `QEMU could not forward port ${hostPort} to the VM's port ${guestPort}: ${said.trim()}`,
      );
    }
    const port = forwardedPort(await this.#human('info usernet'), guestPort);
    if (port === undefined) {
      throw new LabError(
        `QEMU did not report which port it forwards to the VM's port ${guestPort}`,
      );
    }
    return port;
  }

  async #human(line: string): Promise<string> {
    const reply = await this.#execute('human-monitor-command', { 'command-line': line });
    if (reply.error !== undefined) {
      throw new LabError(`QEMU refused "${line}": ${reply.error.desc}`);
    }
    return String(reply.return);
  }

  #execute(name: string, args: Readonly<Record<string, unknown>>): Promise<Reply> {
    const id = this.#nextId++;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#stream.write(`${JSON.stringify({ execute: name, arguments: args, id })}\n`);
    });
  }
}

/** Finds the host's port in what QEMU's "info usernet" prints; the latest forward to a port comes first. */
export function forwardedPort(table: string, guestPort: number): number | undefined {
  for (const line of table.split('\n')) {
    const [state, , , hostPort, , port] = line.trim().split(/\s+/);
    if (state === 'TCP[HOST_FORWARD]' && Number(port) === guestPort) {
      return Number(hostPort);
    }
  }
  return undefined;
}
