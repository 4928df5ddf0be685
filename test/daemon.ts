/** A server that a test starts: in a directory of its own, at an address of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

/** Values by name; true for a flag without a value. */
export type Flags = Readonly<Record<string, string | true>>;

/** The latest characters of a server's output that are kept for the errors of timeouts. */
const KEPT = 4000;

/** The directory of a server's files, which is deleted when it stops. */
export class Home {
  readonly directory: string;
  /** "address:port" on which no other process listens. */
  readonly address: string;

  constructor(program: string, address: string) {
    this.directory = mkdtempSync(join(tmpdir(), `vfioscope-${basename(program)}-`));
    this.address = address;
  }

  /** @param content JSON is YAML, too @returns its path */
  file(name: string, content: object | string): string {
    const path = join(this.directory, name);
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  }
}

export class Daemon {
  readonly url: string;
  /** Its files: those that it reads again may be replaced. */
  readonly home: Home;
  readonly address: string;
  /** Its latest warnings and errors. */
  output = '';
  readonly #process: ChildProcess;

  private constructor(home: Home, child: ChildProcess) {
    this.url = `http://${home.address}`;
    this.address = home.address;
    this.home = home;
    this.#process = child;
    // Also when a test fails without stopping the server.
    process.on('exit', this.#abandon);
    child.stderr?.on('data', (chunk: Buffer) => {
      this.output = (this.output + withoutInformation(chunk.toString())).slice(-KEPT);
    });
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** Starts it, and waits until it answers. @throws when it cannot be started, or ends before that */
  static async start(program: string, flagsOf: (home: Home) => Flags): Promise<Daemon> {
    const home = new Home(program, `127.0.0.1:${await freePort()}`);
    const args = Object.entries(flagsOf(home)).map(([name, value]) =>
      value === true ? `--${name}` : `--${name}=${value}`,
    );
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    const daemon = new Daemon(home, child);
    await once(child, 'spawn');
    while (!(await fetch(`${daemon.url}/-/healthy`).catch(() => undefined))?.ok) {
      if (child.exitCode !== null) {
        await daemon.stop();
        throw new Error(`${program} ended before it answered: ${daemon.output}`);
      }
      await setTimeout(50);
    }
    return daemon;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode === null) {
      this.#process.kill();
      await once(this.#process, 'exit');
    }
    process.off('exit', this.#abandon);
    rmSync(this.home.directory, { recursive: true });
  }

  readonly #abandon = (): void => {
    this.#process.kill('SIGKILL');
    rmSync(this.home.directory, { recursive: true, maxRetries: 3 });
  };
}

/** A port of this machine on which no process listens. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function withoutInformation(text: string): string {
  const lines = text.split('\n').filter((line) => !/level=info|\tinfo\t/.test(line));
  return lines.join('\n');
}
