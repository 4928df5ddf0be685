/**
 * Kernel functions as places to attach programs to. A place is opened first, which
 * shows whether the kernel has the function, and a program is attached to it later.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { kernelVersion } from './host.ts';
import { Libbpf, type Pointer } from './libbpf.ts';
import { closeFd, openKprobe, openTracepoint } from './os.ts';
import type { Hook } from './probe-table.ts';

/** Instances of a kretprobe on a function that may block; the kernel allows at most 4096. */
const BLOCKING_INSTANCES = 1000;
const TRACEFS = ['/sys/kernel/tracing', '/sys/kernel/debug/tracing'];
const GROUP = 'vfioscope_';

/** From here on the kernel counts for each link how often it could not run the program. */
const LINKS_COUNT_MISSES = [6, 7] as const;

/** A function at which a program can be run. */
export interface Place {
  /** kprobe, kretprobe, or kretprobe:N with N instances. */
  readonly method: string;
  readonly fd: number;
  /** The name under which the kernel's own profile counts misses, where tracefs defines it. */
  readonly profiled?: string;
  /** After its descriptor is closed. */
  undefine(): void;
}

/** A program that runs until it is detached. */
export interface Attachment {
  readonly method: string;
  readonly link: Pointer;
  /** Times the kernel could not run the program, as far as it counts them. */
  missed(profile: ReadonlyMap<string, number>): number;
  detach(): void;
}

/**
 * Opens the place of a hook.
 * @throws when the kernel has no such function (see {@link isMissing}), or refuses
 */
export function openPlace(module: string, hook: Hook): Place {
  const tracefs = hook.blocks || !linksCountMisses() ? findTracefs() : undefined;
  if (tracefs) {
    try {
      return definePlace(module, hook, tracefs);
    } catch (error) {
      if (isMissing(error)) throw error;
      // tracefs may be read-only, as in a container: fewer instances are better than none.
    }
  }
  const fd = openKprobe(`${module}:${hook.symbol}`, hook.atReturn);
  return { method: methodOf(hook), fd, undefine() {} };
}

export function closePlace(place: Place): void {
  closeFd(place.fd);
  place.undefine();
}

/** Runs the program at that place from now on; the place then belongs to the attachment. */
export function attach(program: Pointer, place: Place): Attachment {
  const link = Libbpf.get().checkPointer('cannot attach', (calls) =>
    calls.attachPerfEvent(program, place.fd),
  );
  return attachment(place.method, program, link, place);
}

/** At a tracepoint, as the program's own section names it. @throws {LibbpfError} */
export function attachTracepoint(program: Pointer): Attachment {
  const link = Libbpf.get().checkPointer('cannot attach', (calls) => calls.attach(program));
  return attachment('tracepoint', program, link);
}

/** Whether what was asked for does not exist. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function methodOf({ atReturn }: Hook): string {
  return atReturn ? 'kretprobe' : 'kprobe';
}

function linksCountMisses(): boolean {
  const [major, minor] = kernelVersion();
  const [since, sinceMinor] = LINKS_COUNT_MISSES;
  return major > since || (major === since && minor >= sinceMinor);
}

/**
 * Through a probe defined in tracefs: the only way to ask for a number of
 * instances, and on older kernels the only way to learn of misses. Such a
 * definition outlives us unless we take it back.
 */
function definePlace(module: string, hook: Hook, tracefs: string): Place {
  const { symbol, atReturn, blocks } = hook;
  const group = `${GROUP}${process.pid}`;
  // The profile names no groups, and another agent may be there.
  const name = `${symbol}_${atReturn ? 'return' : 'entry'}_${process.pid}`;
  const definitions = `${tracefs}/kprobe_events`;
  const command = (text: string) => writeFileSync(definitions, `${text}\n`, { flag: 'a' });
  const instances = blocks ? BLOCKING_INSTANCES : '';
  const kind = atReturn ? `r${instances}` : 'p';
  const undefine = () => command(`-:${group}/${name}`);
  command(`${kind}:${group}/${name} ${module}:${symbol}`);
  try {
    const id = Number(readFileSync(`${tracefs}/events/${group}/${name}/id`, 'utf8'));
    const method = methodOf(hook) + (instances && `:${instances}`);
    return { method, fd: openTracepoint(id), profiled: name, undefine };
  } catch (error) {
    undefine();
    throw error;
  }
}

/** Takes back what an agent that was killed left in tracefs; what is in use refuses and stays. */
export function removeStaleDefinitions(): number {
  const tracefs = findTracefs();
  if (!tracefs) return 0;
  let removed = 0;
  for (const group of readdirSync(`${tracefs}/events`)) {
    if (!group.startsWith(GROUP)) continue;
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

/**
 * Misses of the probes defined in tracefs, by name; empty where links count them.
 * Before 5.19 the kernel leaves out those for want of an instance.
 */
export function missProfile(): ReadonlyMap<string, number> {
  const tracefs = linksCountMisses() ? undefined : findTracefs();
  if (!tracefs) return new Map();
  const lines = readFileSync(`${tracefs}/kprobe_profile`, 'utf8').trim().split('\n');
  return new Map(
    lines.map((line) => {
      const [name, , misses] = line.trim().split(/\s+/);
      return [name, Number(misses)];
    }),
  );
}

function findTracefs(): string | undefined {
  return TRACEFS.find((path) => {
    try {
      return readdirSync(`${path}/events`).length > 0;
    } catch {
      return false;
    }
  });
}

function attachment(method: string, program: Pointer, link: Pointer, place?: Place): Attachment {
  return {
    method,
    link,
    missed: (profile) =>
      missedBy(link) + skippedBy(program) + (profile.get(place?.profiled ?? '') ?? 0),
    detach() {
      Libbpf.get().calls.linkDestroy(link);
      place?.undefine();
    },
  };
}

/** Both as in include/uapi/linux/bpf.h. */
const LINK_MISSED = 48; // bpf_link_info::perf_event.kprobe.missed, since 6.7
const PROGRAM_SKIPPED = 208; // bpf_prog_info::recursion_misses, since 5.12

/** Hits of the probe that the kernel did not hand to the program. */
function missedBy(link: Pointer): number {
  return infoOf(Libbpf.get().calls.linkFd(link), LINK_MISSED);
}

/** Runs that were skipped because a tracing program was running on that CPU already. */
function skippedBy(program: Pointer): number {
  return infoOf(Libbpf.get().calls.programFd(program), PROGRAM_SKIPPED);
}

/** A 64-bit count out of the kernel's description of a BPF object; 0 where it has none. */
function infoOf(fd: number, offset: number): number {
  const info = new Uint8Array(256);
  const length = new Uint32Array([info.length]);
  if (Libbpf.get().calls.objectInfo(fd, info, length) < 0 || length[0] < offset + 8) return 0;
  return Number(new DataView(info.buffer).getBigUint64(offset, true));
}
