// SPDX-License-Identifier: Apache-2.0
/** An agent in a VM, what it says, and what it answers. */
import assert from 'node:assert/strict';
import type { GuestProcess, Vm } from '../lab/lab.ts';

const PORT = 10055;
/** Where the agent is, unless told otherwise. */
const BUILT = 'dist';

/** A line of the agent's log. */
export interface LogLine {
  readonly event?: string;
  readonly [field: string]: unknown;
}

export interface ApiDevice {
  readonly id: string;
  readonly parent: string;
  readonly type: string;
  readonly state: string;
  readonly quality: string;
  readonly openCount: number;
  readonly opensTotal: number;
  readonly vm: { readonly id: string } | undefined;
}

export class AgentInVm {
  /** What it said, line by line. */
  readonly lines: LogLine[] = [];
  /** All it said that is no JSON. */
  text = '';
  readonly url: string;
  readonly process: GuestProcess;

  private constructor(vm: Vm, url: string, built: string, port: number, flags: readonly string[]) {
    this.url = url;
    let rest = '';
    const collect = (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line.startsWith('{')) this.lines.push(JSON.parse(line) as LogLine);
        else this.text += `${line}\n`;
      }
    };
    const command = [
      ...[process.execPath, `${built}/agent/main.js`, 'run'],
      ...['--listen', `10.0.2.15:${port}`, '--log-format', 'json'],
      ...flags,
    ];
    this.process = vm.start(command, { onStdout: collect, onStderr: collect });
  }

  /** Starts it, and waits until it has looked at the host. */
  static start(vm: Vm, ...flags: string[]): Promise<AgentInVm> {
    return AgentInVm.#startOf(vm, BUILT, PORT, flags);
  }

  /** One that was built elsewhere. @param built the directory that is otherwise `dist` */
  static startBuilt(vm: Vm, built: string, ...flags: string[]): Promise<AgentInVm> {
    return AgentInVm.#startOf(vm, built, PORT, flags);
  }

  /** The same on a port of its own, where there is another agent already. */
  static startAt(vm: Vm, port: number, ...flags: string[]): Promise<AgentInVm> {
    return AgentInVm.#startOf(vm, BUILT, port, flags);
  }

  static async #startOf(
    vm: Vm,
    built: string,
    port: number,
    flags: readonly string[],
  ): Promise<AgentInVm> {
    const url = `http://127.0.0.1:${await vm.forward(port)}`;
    const agent = new AgentInVm(vm, url, built, port, flags);
    await agent.said('host.looked');
    await agent.until('it answers', async () => (await fetch(`${url}/-/healthy`)).ok);
    return agent;
  }

  /** The first line of that event, from line number `from` on; waits for it. */
  async said(event: string, from = 0): Promise<LogLine> {
    const find = () => this.lines.slice(from).find((line) => line.event === event);
    await this.until(`it says ${event}`, async () => find() !== undefined);
    return find() as LogLine;
  }

  async until(what: string, holds: () => Promise<boolean>, seconds = 60): Promise<void> {
    const deadline = Date.now() + seconds * 1000;
    while (Date.now() < deadline) {
      if (await holds().catch(() => false)) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const said = this.lines.slice(-5).map((line) => JSON.stringify(line));
    assert.fail(`waited in vain until ${what}; it said: ${this.text}${said.join('\n')}`);
  }

  async api<T>(path: string): Promise<T> {
    return (await (await fetch(`${this.url}${path}`)).json()) as T;
  }

  /** The sum of all series that begin so. */
  async metric(series: string): Promise<number> {
    const [sum] = await this.metrics(series);
    return sum;
  }

  /** The same of several at one moment. */
  async metrics(...series: readonly string[]): Promise<number[]> {
    const lines = (await (await fetch(`${this.url}/metrics`)).text()).split('\n');
    const values = (begin: string) =>
      lines.filter((line) => line.startsWith(begin)).map((line) => Number(line.split(' ').at(-1)));
    return series.map((begin) => values(begin).reduce((sum, value) => sum + value, 0));
  }

  /** Events that happened and did not arrive. */
  lost(): Promise<number> {
    return this.metric('vfioscope_events_lost_total');
  }

  async devices(): Promise<readonly ApiDevice[]> {
    return (await this.api<{ devices: ApiDevice[] }>('/api/v1/devices')).devices;
  }

  /** What it says of anybody; that events were lost is about itself. */
  async accusations(): Promise<readonly string[]> {
    return (await this.violations()).filter((text) => !text.startsWith('observer-gap '));
  }

  async violations(): Promise<readonly string[]> {
    const { violations } = await this.api<{
      violations: { rule: string; device?: string; explanation: string }[];
    }>('/api/v1/violations');
    return violations.map(
      ({ rule, device = '', explanation }) => `${rule} ${device}: ${explanation}`,
    );
  }

  async vms(): Promise<readonly { readonly state: string; readonly quality: string }[]> {
    return (await this.api<{ vms: { state: string; quality: string }[] }>('/api/v1/vms')).vms;
  }

  async stop(): Promise<void> {
    this.process.signal('SIGTERM');
    const { exitCode } = await this.process.exit;
    assert.equal(exitCode, 0, 'SIGTERM is a clean end');
  }
}
