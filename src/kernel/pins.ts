/**
 * Probes that outlive their agent: maps, links and a session in a directory of the
 * BPF file system. An agent that starts takes over what it can read, and makes
 * again what it cannot.
 */

import { messageOf } from '../errors.ts';
import { TRAITS } from '../events/traits.ts';
import { WIRE } from '../events/wire.gen.ts';
import { failureToRead } from '../events/wire-description.ts';
import { UserProblem } from '../problem.ts';
import { type Attachment, mapEntries, missProfile, takeOver, undefine } from './attach.ts';
import { CpuCounters } from './cpu-counters.ts';
import { closeFd, pause } from './os.ts';
import { mapOf, PinDirectory } from './pins-directory.ts';
import { type Description, type PinnedLink, Session } from './pins-session.ts';
import { RingReader } from './ring.ts';
import { imageHas } from './traits.ts';

export const SHARED_MAPS = ['events', 'cpu_counters', 'calls', 'watched'] as const;
const SESSION = 'session';

/** How long the kernel is given to run no more of the programs whose links went. */
const QUIET_MS = 50;

export interface PinOptions {
  readonly directory: string;
  /** Version of this agent. */
  readonly agent: string;
}

/** What was found in the directory. */
export type PinReport =
  | { readonly state: 'new'; readonly directory: string }
  | {
      readonly state: 'continued';
      readonly directory: string;
      /** Version of the agent that pinned. */
      readonly agent: string;
      /** Records that earlier readers processed, and that they found missing. */
      readonly records: number;
      readonly lost: number;
      /** Bytes that wait to be read. */
      readonly unread: number;
      readonly ringBytes: number;
      readonly moduleBtf: boolean;
    }
  | {
      readonly state: 'replaced';
      readonly directory: string;
      readonly why: string;
      /** That nobody has read, and nobody will. */
      readonly unread: number;
      readonly records: number;
    };

/** What another agent left, as far as it can be used. */
export interface Kept {
  readonly maps: ReadonlyMap<string, number>;
  readonly ringBytes: number;
  readonly description: Description;
}

export class Pins {
  readonly report: PinReport;
  readonly kept: Kept | undefined;
  readonly #directory: PinDirectory;
  #session: Session | undefined;
  readonly #cpus: number;

  /** @throws {UserProblem} when nothing can be pinned there, or another agent reads it */
  constructor({ directory }: PinOptions, cpus: number) {
    checkKernel();
    this.#cpus = cpus;
    this.#directory = ownOrExplain(directory, cpus);
    try {
      const left = this.#leftBehind();
      if (typeof left === 'string') {
        const { unread, records } = clear(this.#directory, cpus);
        this.report = { state: 'replaced', directory, why: left, unread, records };
      } else if (left) {
        this.kept = left;
        this.session.owner = process.pid;
        this.report = this.#continued(left);
      } else this.report = { state: 'new', directory };
    } catch (error) {
      this.#directory.release();
      throw error;
    }
  }

  get session(): Session {
    if (!this.#session) throw new Error('nothing is pinned yet');
    return this.#session;
  }

  /** Pins the maps of a new ring. */
  begin(maps: ReadonlyMap<string, number>, description: Description): void {
    this.#session = Session.create(this.#cpus);
    this.#session.owner = process.pid;
    this.#session.describe(description);
    for (const [name, fd] of maps) this.#directory.keepMap(name, fd);
    // The session last: without it, the rest is nothing.
    this.#directory.keepMap(SESSION, this.#session.fd);
  }

  /** Pins a link. */
  keep(program: string, { linkFd }: Attachment): void {
    this.#directory.keepLink(program, linkFd);
  }

  /** @returns undefined unless all of them are there */
  open(links: readonly PinnedLink[]): Attachment[] | undefined {
    const there: Attachment[] = [];
    for (const { program, ...site } of links) {
      const fd = this.#directory.link(program);
      if (fd !== undefined) there.push(takeOver(fd, site));
    }
    if (there.length === links.length) return there;
    for (const one of there) one.leave();
    return undefined;
  }

  /** Ends a link that this process has attached or taken over. */
  end(program: string, attachment: Attachment, profile: ReadonlyMap<string, number>): void {
    this.session.missedGone += attachment.missed(profile);
    this.#directory.dropLink(program);
    attachment.detach();
  }

  /** Ends what is left of a point that cannot be taken over. */
  drop(links: readonly PinnedLink[]): void {
    const profile = missProfile();
    for (const link of links) {
      const [attachment] = this.open([link]) ?? [];
      if (attachment) this.end(link.program, attachment, profile);
    }
  }

  /** Ends links that nothing is known of. */
  dropAllBut(programs: ReadonlySet<string>): void {
    for (const program of this.#directory.links()) {
      if (!programs.has(program)) this.#directory.dropLink(program);
    }
  }

  /** Leaves everything to the next agent. */
  release(): void {
    this.#session?.close();
    this.#directory.release();
  }

  #continued({ description, ringBytes, maps }: Kept): PinReport {
    const { progress } = this.session;
    const ring = new RingReader(maps.get('events') as number, ringBytes, progress);
    const unread = ring.backlog;
    ring.close();
    return {
      state: 'continued',
      directory: this.#directory.path,
      ...{ agent: description.agent, moduleBtf: description.moduleBtf, ringBytes, unread },
      ...{ records: progress.records, lost: progress.lost },
    };
  }

  /** @returns why it cannot be used, or undefined when there is nothing */
  #leftBehind(): Kept | string | undefined {
    const maps = new Map<string, number>();
    for (const name of SHARED_MAPS) {
      const fd = this.#directory.map(name);
      if (fd !== undefined) maps.set(name, fd);
    }
    const sessionFd = this.#directory.map(SESSION);
    const nothing = maps.size === 0 && sessionFd === undefined;
    if (nothing && this.#directory.links().length === 0) return undefined;
    const close = () => {
      for (const fd of maps.values()) closeFd(fd);
      if (sessionFd !== undefined) closeFd(sessionFd);
    };
    const events = maps.get('events');
    if (events === undefined || maps.size < SHARED_MAPS.length || sessionFd === undefined) {
      const other = sessionFd === undefined ? undefined : failureOf(sessionFd, this.#cpus);
      close();
      return other ?? 'it is not complete, as when the agent that pinned it was killed meanwhile';
    }
    try {
      const session = Session.open(sessionFd, this.#cpus);
      this.#session = session;
      const { description } = session;
      const failure = failureToRead(WIRE, description.wire);
      if (failure) throw new Error(failure);
      if (!RingReader.canBe(session.progress.position, events)) {
        throw new Error('its session and its ring do not fit together');
      }
      return { maps, ringBytes: mapEntries(events), description };
    } catch (error) {
      this.#session?.close();
      this.#session = undefined;
      close();
      return messageOf(error);
    }
  }
}

/** What was pinned and is no more. */
export interface Cleared {
  /** How many links there were. */
  readonly links: number;
  /** Bytes that nobody has read. */
  readonly unread: number;
  /** Records that nobody has read, and those that found the ring full meanwhile. */
  readonly records: number;
  /** Of all agents, where the session could be read. */
  readonly account?: { readonly records: number; readonly lost: number };
}

/** Ends all links and removes all maps. */
export function clear(directory: PinDirectory, cpus: number): Cleared {
  const links = directory.links();
  const pinned = new Map(
    [...SHARED_MAPS, SESSION].map((name) => [name as string, directory.map(name)]),
  );
  const definitions = definitionsOf(pinned.get(SESSION), cpus);
  for (const program of links) directory.dropLink(program);
  pause(QUIET_MS);
  for (const definition of definitions) undefine(definition);
  const cleared = { links: links.length, ...leftIn(pinned, cpus) };
  for (const fd of pinned.values()) if (fd !== undefined) closeFd(fd);
  directory.dropMaps();
  return cleared;
}

/** The probes in tracefs that its links hang on, as far as its session can be read. */
function definitionsOf(fd: number | undefined, cpus: number): string[] {
  const session = fd === undefined ? undefined : openSession(fd, cpus);
  if (!session) return [];
  try {
    const links = Object.values(session.description.points).flat();
    return links.map(({ definition }) => definition).filter((one) => one !== undefined);
  } catch {
    return [];
  } finally {
    session.close();
  }
}

/** What waits in a ring that nobody will read. */
function leftIn(
  pinned: ReadonlyMap<string, number | undefined>,
  cpus: number,
): Omit<Cleared, 'links'> {
  const events = pinned.get('events');
  const cpuCountersFd = pinned.get('cpu_counters');
  const sessionFd = pinned.get(SESSION);
  if (events === undefined) return { unread: 0, records: 0 };
  const session = sessionFd === undefined ? undefined : openSession(sessionFd, cpus);
  const ring = new RingReader(events, mapEntries(events), session?.progress);
  const left = { unread: ring.backlog, records: ring.unread() };
  ring.close();
  if (!session || cpuCountersFd === undefined) return left;
  const { records, lost } = session.progress;
  session.close();
  const cpuCounters = new CpuCounters(cpuCountersFd, cpus);
  const attempts = cpuCounters.counts().reduce((sum, counters) => sum + counters.attempts, 0);
  cpuCounters.close();
  const missing = attempts - records - lost;
  return { ...left, records: Math.max(left.records, missing), account: { records, lost } };
}

/** Why this agent cannot read records of a session: an agent of another version has other maps, too. */
function failureOf(fd: number, cpus: number): string | undefined {
  const session = openSession(fd, cpus);
  try {
    return session && failureToRead(WIRE, session.description.wire);
  } catch {
    return undefined;
  } finally {
    session?.close();
  }
}

function openSession(fd: number, cpus: number): Session | undefined {
  try {
    return Session.open(fd, cpus);
  } catch {
    return undefined;
  }
}

/** @throws {UserProblem} when another process owns it */
export function ownOrExplain(path: string, cpus: number): PinDirectory {
  const directory = PinDirectory.own(path);
  if (directory) return directory;
  const fd = mapOf(path, SESSION);
  const owner = fd === undefined ? undefined : openSession(fd, cpus)?.owner;
  throw new UserProblem(
    'pin.in-use',
    `a running agent reads the probes pinned in ${path}${owner ? ` (pid ${owner})` : ''}`,
    'stop it first, or set another directory as pin.directory',
  );
}

/** @throws {UserProblem} */
function checkKernel(): void {
  if (imageHas('linksCanBePinned') !== false) return;
  throw new UserProblem(
    'pin.unsupported-kernel',
    `probes cannot be pinned on this kernel: ${TRAITS.linksCanBePinned.otherwise}`,
    'run without --pin: what happens while no agent runs is not observed, and the next agent finds the state by a host snapshot',
  );
}
