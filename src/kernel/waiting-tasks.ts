/** The threads of all processes that sleep where no signal wakes them, read from /proc beside the event loop. */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { MissingTasks, WaitingTask, WaitingTasks } from '../events/host.ts';
import { withoutStack, withStack } from './blocked-task.ts';
import { PatientAsker } from './patience.ts';
import {
  fieldsOf,
  hasHostPids,
  hidesProcesses,
  identityOf,
  namesIn,
  pidsIn,
  said,
  unlessGone,
} from './proc.ts';
import { sleepers, untilAsleep } from './sleepers.ts';
import { pacer } from './sysfs-files.ts';

/** Of how many threads the state is read. */
const MOST_THREADS = 50_000;
/** Of how many threads in state D the stack is read: the kernel unwinds each. */
const MOST_STACKS = 256;

/** Whoever is stuck in the middle of an execve() keeps the lock that guards its stack. */
const stacks = new PatientAsker(1);

/** How much of a host is looked at. */
export interface Limits {
  readonly threads: number;
  readonly stacks: number;
}

/**
 * The threads in state D, whatever they wait for, with their stacks. Most threads cost one read, that
 * of their state.
 * @returns undefined where ids are not those of events, or /proc cannot be read
 */
export async function waitingTasks(
  proc = '/proc',
  limits: Limits = { threads: MOST_THREADS, stacks: MOST_STACKS },
): Promise<WaitingTasks | undefined> {
  try {
    return hasHostPids(proc) ? await new Scan(proc, limits).run() : undefined;
  } catch {
    return undefined;
  }
}

interface Thread {
  readonly pid: number;
  readonly tid: number;
  readonly directory: string;
}

class Scan {
  readonly #proc: string;
  readonly #limits: Limits;
  readonly #pace = pacer();
  readonly #tasks: WaitingTask[] = [];
  readonly #missing = new Set<MissingTasks>();
  /** Threads in state D. */
  readonly #stuck: Thread[] = [];
  #threads = 0;

  constructor(proc: string, limits: Limits) {
    this.#proc = proc;
    this.#limits = limits;
  }

  async run(): Promise<WaitingTasks> {
    if (hidesProcesses(this.#proc)) this.#missing.add('hidden');
    for (const pid of pidsIn(this.#proc)) {
      if (this.#isTruncated) break;
      await this.#process(pid);
      await this.#pace();
    }
    await untilAsleep(this.#stuck);
    for (const thread of this.#stuck) {
      await this.#read(thread);
      await this.#pace();
    }
    const tasks = this.#tasks.sort((one, other) => one.tid - other.tid);
    return { tasks, missing: [...this.#missing] };
  }

  get #isTruncated(): boolean {
    return this.#missing.has('truncated');
  }

  async #process(pid: number): Promise<void> {
    try {
      for (const name of namesIn(`${this.#proc}/${pid}/task`)) {
        if (++this.#threads > this.#limits.threads) this.#missing.add('truncated');
        if (this.#isTruncated) return;
        if (this.#isInD(pid, name)) this.#add(pid, Number(name));
        await this.#pace();
      }
    } catch {
      this.#missing.add('unreadable');
    }
  }

  /** @throws when its state cannot be read */
  #isInD(pid: number, tid: string): boolean {
    const file = `${this.#proc}/${pid}/task/${tid}/stat`;
    const [state] = fieldsOf(unlessGone(() => readFileSync(file, 'utf8'), ''));
    return state === 'D';
  }

  #add(pid: number, tid: number): void {
    if (this.#stuck.length < this.#limits.stacks)
      this.#stuck.push({ pid, tid, directory: `${this.#proc}/${tid}` });
    else this.#missing.add('truncated');
  }

  async #read({ pid, tid, directory }: Thread): Promise<void> {
    const status = said(`${directory}/status`);
    const task = withoutStack({ pid, tid }, status, this.#proc);
    // It may have been woken since.
    if (!task?.state.startsWith('D')) return;
    const stack = sleepers.hasSlept(tid, status)
      ? await stacks.ask(`${directory}/stack`, (file) => readFile(file, 'utf8'))
      : undefined;
    const inKernel = withStack(task, stack ?? '');
    if (!inKernel.stack && inKernel.wchan === undefined) this.#missing.add('unreadable');
    this.#tasks.push({ pid, tid, ...identityOf(status), inKernel });
  }
}
