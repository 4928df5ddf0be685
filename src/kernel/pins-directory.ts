/**
 * A directory in the BPF file system, where maps and links live on when no process
 * has them. One process at a time owns it, by a lock that ends with that process.
 */
import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { UserProblem } from '../problem.ts';
import { Libbpf } from './libbpf.ts';
import { lock } from './os.ts';

const BPF_FS = 0xcafe4a11;
const MAPS = 'maps';
const LINKS = 'links';
type Kind = typeof MAPS | typeof LINKS;

export class PinDirectory {
  readonly path: string;
  readonly #locked: number;

  private constructor(path: string, locked: number) {
    this.path = path;
    this.#locked = locked;
  }

  /**
   * Makes the directory if there is none, and owns it.
   * @returns undefined when another process owns it
   * @throws {UserProblem} when it cannot be there
   */
  static own(path: string): PinDirectory | undefined {
    checkFileSystem(path);
    for (;;) {
      for (const kind of [MAPS, LINKS]) {
        mkdirSync(join(path, kind), { recursive: true, mode: 0o700 });
      }
      const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
      if (!lock(fd)) {
        closeSync(fd);
        return undefined;
      }
      // Who owned it before may have removed it since it was opened.
      const there = statSync(path, { throwIfNoEntry: false });
      if (there?.ino === fstatSync(fd).ino) return new PinDirectory(path, fd);
      closeSync(fd);
    }
  }

  /** @returns a descriptor, or undefined if there is no such map */
  map(name: string): number | undefined {
    return this.#open(MAPS, name);
  }

  keepMap(name: string, fd: number): void {
    this.#keep(MAPS, name, fd);
  }

  links(): string[] {
    return readdirSync(join(this.path, LINKS));
  }

  /** @returns a descriptor, or undefined if there is no such link */
  link(name: string): number | undefined {
    return this.#open(LINKS, name);
  }

  keepLink(name: string, fd: number): void {
    this.#keep(LINKS, name, fd);
  }

  /** The link ends shortly after, if no process has it. */
  dropLink(name: string): void {
    rmSync(join(this.path, LINKS, name), { force: true });
  }

  dropMaps(): void {
    for (const name of readdirSync(join(this.path, MAPS))) unlinkSync(join(this.path, MAPS, name));
  }

  /** Takes the empty directory away. */
  remove(): void {
    for (const kind of [MAPS, LINKS]) rmdirSync(join(this.path, kind));
    rmdirSync(this.path);
  }

  /** Lets another process own it. */
  release(): void {
    closeSync(this.#locked);
  }

  #open(kind: Kind, name: string): number | undefined {
    const fd = Libbpf.get().calls.pinned(join(this.path, kind, name));
    return fd < 0 ? undefined : fd;
  }

  #keep(kind: Kind, name: string, fd: number): void {
    const path = join(this.path, kind, name);
    Libbpf.get().check(`cannot pin ${path}`, (calls) => calls.pin(fd, path));
  }
}

/** Whether something is pinned there. */
export function isPinned(path: string): boolean {
  return countOf(join(path, MAPS)) > 0 || countOf(join(path, LINKS)) > 0;
}

function countOf(path: string): number {
  try {
    return readdirSync(path).length;
  } catch {
    return 0;
  }
}

/** A map that is pinned there, also when another process owns the directory. */
export function mapOf(path: string, name: string): number | undefined {
  const fd = Libbpf.get().calls.pinned(join(path, MAPS, name));
  return fd < 0 ? undefined : fd;
}

/** @throws {UserProblem} */
function checkFileSystem(path: string): void {
  let above = path;
  while (!statSync(above, { throwIfNoEntry: false }) && dirname(above) !== above) {
    above = dirname(above);
  }
  if (statfsSync(above).type === BPF_FS) return;
  const standard = path.startsWith('/sys/fs/bpf/');
  throw new UserProblem(
    'pin.no-bpf-fs',
    standard
      ? 'nothing can be pinned: the BPF file system is not mounted at /sys/fs/bpf'
      : `nothing can be pinned in ${path}: it is not in a BPF file system`,
    standard
      ? 'mount -t bpf bpf /sys/fs/bpf'
      : 'name a directory below /sys/fs/bpf in pin.directory, or mount one: mount -t bpf bpf DIRECTORY',
  );
}
