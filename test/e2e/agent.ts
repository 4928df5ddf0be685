// SPDX-License-Identifier: Apache-2.0
/** An agent in a VM: its log and its HTTP answers. */
import assert from 'node:assert/strict';
import type { GuestProcess, Vm } from '../lab/lab.ts';
import { until } from '../until.ts';
import { untilEvaluated } from './clock.ts';

const PORT = 10055;
/** The default directory of the agent's build. */
const BUILT = 'dist';
/** In a software-emulated VM a probe takes twenty times as long, and a load of a test is over any budget. */
export const UNLIMITED = '--no-budget';

/** A line of the agent's log. */
export interface LogLine {
  readonly event?: string;
  readonly [field: string]: unknown;
}

export interface ApiDevice {
  readonly id: string;
  readonly parent: string;
  readonly mdevType: string;
  readonly state: string;
  readonly quality: string;
  readonly openCount: number;
  readonly opensTotal: number;
  readonly vm: { readonly id: string } | undefined;
}

export class AgentInVm {
  /** The JSON lines of its log. */
  readonly lines: LogLine[] = [];
  /** Its output that is not JSON. */
  text = '';
  readonly url: string;
  readonly process: GuestProcess;
  readonly #vm: Vm;
  /** How it ended; undefined while it runs. */
  #end: string | undefined;

  private constructor(vm: Vm, url: string, built: string, port: number, flags: readonly string[]) {
    this.url = url;
    this.#vm = vm;
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
    this.process.exit.then(
      ({ exitCode }) => {
        this.#end = `the agent ended with ${exitCode}`;
      },
      ({ message }: Error) => {
        this.#end = message;
      },
    );
  }

  /** Starts it, and waits until it has taken its first host snapshot. */
  static start(vm: Vm, ...flags: string[]): Promise<AgentInVm> {
    return AgentInVm.#startOf(vm, BUILT, PORT, [UNLIMITED, ...flags]);
  }

  /** Starts one that detaches probes as these settings say. @param settings of the section budget */
  static async startLimited(
    vm: Vm,
    settings: Readonly<Record<string, number>>,
    ...flags: string[]
  ): Promise<AgentInVm> {
    const lines = Object.entries(settings).map(([name, value]) => `  ${name}: ${value}`);
    await vm.sh(`printf '%s\\n' 'budget:' '${lines.join("' '")}' > /tmp/budget.yaml`);
    return AgentInVm.#startOf(vm, BUILT, PORT, ['--config', '/tmp/budget.yaml', ...flags]);
  }

  /** Starts an agent that was built elsewhere. @param built the directory to use instead of `dist` */
  static startBuilt(vm: Vm, built: string, ...flags: string[]): Promise<AgentInVm> {
    return AgentInVm.#startOf(vm, built, PORT, [UNLIMITED, ...flags]);
  }

  /** Starts an agent on a port of its own, beside another one. */
  static startAt(vm: Vm, port: number, ...flags: string[]): Promise<AgentInVm> {
    return AgentInVm.#startOf(vm, BUILT, port, [UNLIMITED, ...flags]);
  }

  static async #startOf(
    vm: Vm,
    built: string,
    port: number,
    flags: readonly string[],
  ): Promise<AgentInVm> {
    const url = `http://127.0.0.1:${await vm.forward(port)}`;
    const agent = new AgentInVm(vm, url, built, port, flags);
    await agent.logged('snapshot.done');
    await agent.until('it answers', async () => (await fetch(`${url}/-/healthy`)).ok);
    return agent;
  }

  /** The first line of that event, from line number `from` on; waits for it. */
  async logged(event: string, from = 0): Promise<LogLine> {
    const find = () => this.lines.slice(from).find((line) => line.event === event);
    await this.until(`the agent logs ${event}`, async () => find() !== undefined);
    return find() as LogLine;
  }

  until(what: string, holds: () => Promise<boolean>): Promise<void> {
    return until(what, holds, {
      over: () => this.#end,
      more: () => {
        const latest = this.lines.slice(-5).map((line) => JSON.stringify(line));
        return `; its output: ${this.text}${latest.join('\n')}`;
      },
    });
  }

  /**
   * Waits until it has processed all that happened so far, and has evaluated its rules so many
   * seconds later, by its own clock.
   */
  evaluated(seconds = 0): Promise<void> {
    return untilEvaluated(this.#vm, this, seconds);
  }

  async api<T>(path: string): Promise<T> {
    return (await (await fetch(`${this.url}${path}`)).json()) as T;
  }

  /** The sum of all series that begin with `series`. */
  async metric(series: string): Promise<number> {
    const [sum] = await this.metrics(series);
    return sum;
  }

  /** The same sums for several prefixes, from one scrape. */
  async metrics(...series: readonly string[]): Promise<number[]> {
    const lines = (await (await fetch(`${this.url}/metrics`)).text()).split('\n');
    const values = (begin: string) =>
      lines.filter((line) => line.startsWith(begin)).map((line) => Number(line.split(' ').at(-1)));
    return series.map((begin) => values(begin).reduce((sum, value) => sum + value, 0));
  }

  /** Events that were lost. */
  lost(): Promise<number> {
    return this.metric('vfioscope_events_lost_total');
  }

  async devices(): Promise<readonly ApiDevice[]> {
    return (await this.api<{ devices: ApiDevice[] }>('/api/v1/devices')).devices;
  }

  /** Violations about the host's objects: observer-gap is about the agent itself. */
  async hostViolations(): Promise<readonly string[]> {
    return (await this.violations()).filter((text) => !text.startsWith('observer-gap '));
  }

  async violations(): Promise<readonly string[]> {
    const { violations } = await this.api<{
      violations: { rule: string; device?: string; message: string; fromEarlierRun?: true }[];
    }>('/api/v1/violations');
    const own = violations.filter(({ fromEarlierRun }) => !fromEarlierRun);
    return own.map(({ rule, device = '', message }) => `${rule} ${device}: ${message}`);
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
