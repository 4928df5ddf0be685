/**
 * Control groups by the id that events carry. Asked when a process is to be named, and once
 * when a device is created, because the name of a group is lost with it.
 */
import { closeSync, openSync, readlinkSync } from 'node:fs';
import type { ControlGroup } from '../events/host.ts';
import { ROOT_CGROUP, type Task } from '../events/task.ts';
import { plain } from '../plain.ts';
import { belongingOf, groupPathIn } from './control-group-names.ts';
import { closeFd, openKernfs } from './os.ts';
import { hasHostPids, said } from './proc.ts';

/** Groups that are remembered, found or gone. */
const REMEMBERED = 4096;

type Caller = Pick<Task, 'pid' | 'comm' | 'cgroup'>;

/** @returns the path of a group below the root, undefined when it is gone @throws when it cannot be known */
export type FindGroup = (id: number) => string | undefined;

export class ControlGroups {
  readonly #proc: string;
  readonly #find: FindGroup | undefined;
  /** By id; a group that is gone does not come back, and its id is nobody else's. */
  readonly #known = new Map<number, ControlGroup | undefined>();

  constructor(proc = '/proc', find = byHandle(proc)) {
    this.#proc = proc;
    this.#find = find;
  }

  /** The group in which the task was when the event came that it is known from. */
  of(task: Caller): ControlGroup | undefined {
    const { cgroup } = task;
    if (cgroup <= ROOT_CGROUP || !this.#find) return this.#ofLiving(task);
    if (this.#known.has(cgroup)) return this.#known.get(cgroup);
    try {
      const path = this.#find(cgroup);
      return this.#remember(cgroup, path === undefined ? undefined : named(path));
    } catch {
      return this.#ofLiving(task);
    }
  }

  #remember(id: number, group: ControlGroup | undefined): ControlGroup | undefined {
    if (this.#known.size >= REMEMBERED) {
      const [oldest] = this.#known.keys();
      this.#known.delete(oldest);
    }
    this.#known.set(id, group);
    return group;
  }

  /** Where the process is now; unknown when its id is another's by now, as far as its name shows. */
  #ofLiving({ pid, comm }: Caller): ControlGroup | undefined {
    try {
      if (!hasHostPids(this.#proc)) return undefined;
    } catch {
      return undefined;
    }
    if (plain(said(`${this.#proc}/${pid}/comm`)) !== comm) return undefined;
    return this.ofProcess(pid);
  }

  /** Where the process with that id is now. The caller knows that ids here are those of events. */
  ofProcess(pid: number): ControlGroup | undefined {
    const path = groupPathIn(said(`${this.#proc}/${pid}/cgroup`));
    return path === undefined ? undefined : named(path);
  }
}

function named(path: string): ControlGroup {
  return { path: plain(path), ...belongingOf(path) };
}

/** Asks the kernel itself for the directory; undefined where cgroup v2 is not mounted. */
function byHandle(proc: string): FindGroup | undefined {
  const mounts = said(`${proc}/self/mounts`).split('\n');
  const mount = mounts.map((line) => line.split(' ')).find(([, , type]) => type === 'cgroup2')?.[1];
  if (mount === undefined) return undefined;
  return (id) => {
    const root = openSync(mount, 'r');
    try {
      const fd = openKernfs(root, id);
      if (fd === undefined) return undefined;
      const path = pathOf(fd, proc);
      if (path === mount) return '/';
      // In a control group namespace, others have no path.
      if (!path.startsWith(`${mount}/`)) throw new Error(`the group ${id} is not below ${mount}`);
      return path.slice(mount.length);
    } finally {
      closeSync(root);
    }
  };
}

function pathOf(fd: number, proc: string): string {
  try {
    return readlinkSync(`${proc}/self/fd/${fd}`);
  } finally {
    closeFd(fd);
  }
}
