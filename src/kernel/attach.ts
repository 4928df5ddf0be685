/**
 * Kernel functions as sites to attach programs to. A site is opened first, which
 * shows whether the kernel has the function, and a program is attached to it later.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Libbpf, type Pointer } from './libbpf.ts';
import { closeFd, duplicate, openKprobe, openTracepoint, pause, randomBytes } from './os.ts';
import type { Hook } from './probe-point.ts';
import { isShortage } from './shortage.ts';
import { imageHas } from './traits.ts';

/** Instances of a kretprobe on a function that may block; the kernel allows at most 4096. */
const BLOCKING_INSTANCES = 1000;
const TRACEFS = ['/sys/kernel/tracing', '/sys/kernel/debug/tracing'];
const GROUP = 'vfioscope_';
/** Of this process only: in containers, pids come again, and a name that is taken would get two probes. */
const MARK = `${process.pid}_${randomBytes(3).toString('hex')}`;
const OWN_GROUP = `${GROUP}${MARK}`;
export const TRACEPOINT = 'tracepoint';
/** How long the kernel may take to release a link. */
const UNDEFINE_MS = 1000;

/** A function at which a program can be run. */
export interface ProbeSite {
  /** kprobe, kretprobe, or kretprobe:N with N instances. */
  readonly method: string;
  readonly fd: number;
  /** The probe in tracefs that it is, as GROUP/NAME; it outlives us unless it is taken back. */
  readonly definition?: string;
}

/** How long a program has run and how often, as the kernel counts while its statistics are enabled. */
export interface RunTime {
  /** ns. */
  readonly time: number;
  readonly runs: number;
}

/** A program that runs until it is detached. */
export interface Attachment {
  readonly method: string;
  readonly definition?: string;
  readonly linkFd: number;
  /** Times the kernel could not run the program, as far as it counts them. */
  missed(profile: ReadonlyMap<string, number>): number;
  runTime(): RunTime;
  /** Ends it; what is pinned ends when the pin is gone too. */
  detach(): void;
  /** Leaves it to its pin. */
  leave(): void;
}

/**
 * kprobe: by perf events alone. tracefs: by definitions there, which can have many instances
 * and count misses on every kernel. auto: tracefs where that matters, else the quicker other.
 */
export type AttachMethod = 'auto' | 'kprobe' | 'tracefs';

function needsTracefs(hook: Hook): boolean {
  return hook.blocks || !imageHas('linksCountMisses');
}

/**
 * Opens the site of a hook.
 * @param target its function, as {@link Naming} names it
 * @throws when the kernel has no such function (see {@link isMissing}), or refuses
 */
export function openSite(target: string, hook: Hook, method: AttachMethod): ProbeSite {
  const wanted = method === 'tracefs' || (method === 'auto' && needsTracefs(hook));
  const tracefs = wanted ? findTracefs() : undefined;
  if (method === 'tracefs' && !tracefs) throw new Error('tracefs is not mounted, or not readable');
  if (tracefs) {
    try {
      return defineSite(target, hook, tracefs);
    } catch (error) {
      if (isMissing(error) || method === 'tracefs') throw error;
      // tracefs may be read-only, as in a container: fewer instances are better than none.
    }
  }
  const fd = openKprobe(target, hook.atReturn);
  return { method: methodOf(hook), fd };
}

export function closeSite(site: ProbeSite): void {
  closeFd(site.fd);
  undefine(site.definition);
}

/** Runs the program at that site from now on; the site then belongs to the attachment. */
export function attach(program: Pointer, site: ProbeSite): Attachment {
  return attachment(program, site, () =>
    Libbpf.get().checkPointer('cannot attach', (calls) => calls.attachPerfEvent(program, site.fd)),
  );
}

/** At a tracepoint, as the program's own section names it. @throws {LibbpfError} */
export function attachTracepoint(program: Pointer): Attachment {
  return attachment(program, { method: TRACEPOINT }, () =>
    Libbpf.get().checkPointer('cannot attach', (calls) => calls.attach(program)),
  );
}

/** A link that was pinned. @param fd belongs to the attachment @param site how it was attached */
export function takeOver(fd: number, site: Omit<ProbeSite, 'fd'>): Attachment {
  const programId = new DataView(describe(fd)).getUint32(LINK_PROGRAM, true);
  const program = Libbpf.get().check('cannot find the program of a pinned link', (calls) =>
    calls.programById(programId),
  );
  const leave = () => {
    closeFd(fd);
    closeFd(program);
  };
  return {
    ...site,
    linkFd: fd,
    missed: missesOf(fd, program, site.definition),
    runTime: () => runTimeOf(program),
    leave,
    detach() {
      leave();
      undefine(site.definition);
    },
  };
}

/** As the kernel says that something does not exist. */
export function missing(reason: string): Error {
  return Object.assign(new Error(reason), { code: 'ENOENT' });
}

/** Whether what was asked for does not exist. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function methodOf({ atReturn }: Hook): string {
  return atReturn ? 'kretprobe' : 'kprobe';
}

/**
 * Through a probe defined in tracefs: the only way to ask for a number of
 * instances, and on older kernels the only way to learn of misses. Such a
 * definition outlives us unless we take it back.
 */
function defineSite(target: string, hook: Hook, tracefs: string): ProbeSite {
  const { symbol, atReturn, blocks } = hook;
  // The profile names no groups, and another agent may be there.
  const name = `${symbol}_${atReturn ? 'return' : 'entry'}_${MARK}`;
  const definitions = `${tracefs}/kprobe_events`;
  const command = (text: string) => writeFileSync(definitions, `${text}\n`, { flag: 'a' });
  const instances = blocks ? BLOCKING_INSTANCES : '';
  const kind = atReturn ? `r${instances}` : 'p';
  const definition = `${OWN_GROUP}/${name}`;
  command(`${kind}:${definition} ${target}`);
  try {
    const id = Number(readFileSync(`${tracefs}/events/${definition}/id`, 'utf8'));
    const method = methodOf(hook) + (instances && `:${instances}`);
    return { method, fd: openTracepoint(id), definition };
  } catch (error) {
    undefine(definition);
    throw error;
  }
}

/**
 * The kernel may release a link shortly after its last pin or descriptor is gone;
 * until then its definition is in use. One that stays so is left to
 * {@link removeStaleDefinitions} of a later start.
 */
export function undefine(definition: string | undefined): void {
  const tracefs = definition && findTracefs();
  if (!tracefs) return;
  for (const deadline = Date.now() + UNDEFINE_MS; Date.now() < deadline; pause(2)) {
    try {
      writeFileSync(`${tracefs}/kprobe_events`, `-:${definition}\n`, { flag: 'a' });
      return;
    } catch (error) {
      if (isMissing(error)) return;
      if (!(error instanceof Error && 'code' in error && error.code === 'EBUSY')) throw error;
    }
  }
}

/** Takes back what an agent that was killed left in tracefs; what is in use refuses and stays. */
export function removeStaleDefinitions(): number {
  const tracefs = findTracefs();
  if (!tracefs) return 0;
  let removed = 0;
  for (const group of readdirSync(`${tracefs}/events`)) {
    if (!group.startsWith(GROUP) || group === OWN_GROUP) continue;
    for (const name of readdirSync(`${tracefs}/events/${group}`)) {
      if (name === 'enable' || name === 'filter') continue;
      try {
        writeFileSync(`${tracefs}/kprobe_events`, `-:${group}/${name}\n`, { flag: 'a' });
        removed++;
      } catch {
        // In use by another agent.
      }
    }
  }
  return removed;
}

let latestProfile: ReadonlyMap<string, number> = new Map();

/**
 * Misses of the probes defined in tracefs, by name; empty where links count them.
 * Before 5.19 the kernel leaves out those for want of an instance. While descriptors are short
 * it is that of the last time, because counts must not fall.
 */
export function missProfile(): ReadonlyMap<string, number> {
  const tracefs = imageHas('linksCountMisses') ? undefined : findTracefs();
  if (!tracefs) return new Map();
  try {
    latestProfile = profileOf(readFileSync(`${tracefs}/kprobe_profile`, 'utf8'));
  } catch (error) {
    if (!isShortage(error)) throw error;
  }
  return latestProfile;
}

function profileOf(text: string): ReadonlyMap<string, number> {
  const lines = text.trim().split('\n');
  return new Map(
    lines.map((line) => {
      const [name, , misses] = line.trim().split(/\s+/);
      return [name, Number(misses)];
    }),
  );
}

/** Read each time: it may be mounted while the agent runs. */
function findTracefs(): string | undefined {
  return TRACEFS.find((path) => existsSync(`${path}/kprobe_events`));
}

/** Has a descriptor of the program of its own, so that the probe object can be closed. */
function attachment(
  program: Pointer,
  { method, definition, fd }: Omit<ProbeSite, 'fd'> & { readonly fd?: number },
  attachProgram: () => Pointer,
): Attachment {
  const { calls } = Libbpf.get();
  const programFd = duplicate(calls.programFd(program));
  let link: Pointer;
  try {
    link = attachProgram();
  } catch (error) {
    closeFd(programFd);
    throw error;
  }
  const linkFd = calls.linkFd(link);
  return {
    ...{ method, linkFd, missed: missesOf(linkFd, programFd, definition) },
    runTime: () => runTimeOf(programFd),
    ...(definition === undefined ? {} : { definition }),
    detach() {
      calls.linkDestroy(link);
      closeFd(programFd);
      undefine(definition);
    },
    leave() {
      // To destroy it as it is would disable the event that the pinned link hangs on.
      calls.linkDisconnect(link);
      calls.linkDestroy(link);
      closeFd(linkFd);
      closeFd(programFd);
      if (fd !== undefined && fd !== linkFd) closeFd(fd);
    },
  };
}

/** All as in include/uapi/linux/bpf.h. */
const LINK_PROGRAM = 8; // bpf_link_info::prog_id
const LINK_MISSED = 48; // bpf_link_info::perf_event.kprobe.missed, since 6.7
const MAP_ENTRIES = 16; // bpf_map_info::max_entries
const PROGRAM_RUN_TIME = 192; // bpf_prog_info::run_time_ns, since 5.1
const PROGRAM_RUNS = 200; // bpf_prog_info::run_cnt, since 5.1
const PROGRAM_SKIPPED = 208; // bpf_prog_info::recursion_misses, since 5.12

/**
 * Hits of the probe that the kernel did not hand to the program, and runs that were
 * skipped because a tracing program was running on that CPU already.
 */
function missesOf(
  link: number,
  program: number,
  definition: string | undefined,
): Attachment['missed'] {
  const profiled = definition?.slice(definition.indexOf('/') + 1) ?? '';
  return (profile) =>
    countOf(link, LINK_MISSED) + countOf(program, PROGRAM_SKIPPED) + (profile.get(profiled) ?? 0);
}

/** A 64-bit count out of the kernel's description of a BPF object; 0 where it has none. */
function countOf(fd: number, offset: number): number {
  const info = describe(fd);
  return offset + 8 > info.byteLength ? 0 : Number(new DataView(info).getBigUint64(offset, true));
}

function runTimeOf(program: number): RunTime {
  const info = describe(program);
  if (info.byteLength < PROGRAM_RUNS + 8) return { time: 0, runs: 0 };
  const view = new DataView(info);
  return {
    time: Number(view.getBigUint64(PROGRAM_RUN_TIME, true)),
    runs: Number(view.getBigUint64(PROGRAM_RUNS, true)),
  };
}

/** As much as the kernel says of it. */
function describe(fd: number): ArrayBuffer {
  const info = new Uint8Array(256);
  const length = new Uint32Array([info.length]);
  if (Libbpf.get().calls.objectInfo(fd, info, length) < 0) return new ArrayBuffer(0);
  return info.buffer.slice(0, length[0]);
}

/** Bytes of the data area of a pinned ring buffer, or entries of another map. */
export function mapEntries(fd: number): number {
  return new DataView(describe(fd)).getUint32(MAP_ENTRIES, true);
}
