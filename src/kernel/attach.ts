/** Attaches a loaded program to a kernel function. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Libbpf, LibbpfError, type Pointer } from './libbpf.ts';
import { closeFd, openTracepoint } from './os.ts';

/** Instances of a kretprobe on a function that may block; the kernel allows at most 4096. */
const BLOCKING_INSTANCES = 1000;
const TRACEFS = ['/sys/kernel/tracing', '/sys/kernel/debug/tracing'];
const GROUP = 'vfioscope_';

/** A program that runs until it is detached. */
export interface Attachment {
  /** kprobe, tracepoint, kretprobe, or kretprobe:N with N instances. */
  readonly method: string;
  /** Times the kernel could not run the program, as far as it counts them. */
  missed(): number;
  detach(): void;
}

/** At the function's entry. @throws {LibbpfError} */
export function attachEntry(program: Pointer, module: string, symbol: string): Attachment {
  return attachFunction(program, module, symbol, false);
}

/**
 * At the function's return.
 * @param blocks the function may wait long, so that many calls may be in flight
 * @throws {LibbpfError}
 */
export function attachReturn(
  program: Pointer,
  module: string,
  symbol: string,
  blocks: boolean,
): Attachment {
  const tracefs = blocks ? findTracefs() : undefined;
  if (!tracefs) return attachFunction(program, module, symbol, true);
  try {
    return attachDefined(program, module, symbol, tracefs);
  } catch {
    // tracefs may be read-only, as in a container: fewer instances are better than none.
    return attachFunction(program, module, symbol, true);
  }
}

/** At a tracepoint, as the program's own section names it. @throws {LibbpfError} */
export function attachTracepoint(program: Pointer): Attachment {
  const link = Libbpf.get().checkPointer('cannot attach', (calls) => calls.attach(program));
  return attachment('tracepoint', program, link, () => {});
}

function attachFunction(
  program: Pointer,
  module: string,
  symbol: string,
  atReturn: boolean,
): Attachment {
  const attach = (name: string) =>
    Libbpf.get().checkPointer(`cannot attach to ${symbol}`, (calls) =>
      calls.attachKprobe(program, atReturn, name),
    );
  const method = atReturn ? 'kretprobe' : 'kprobe';
  try {
    // Qualified, because a static function of the same name may exist elsewhere.
    return attachment(method, program, attach(`${module}:${symbol}`), () => {});
  } catch (error) {
    if (!(error instanceof LibbpfError && error.isMissing)) throw error;
    return attachment(method, program, attach(symbol), () => {});
  }
}

/**
 * Through a probe defined in tracefs: the only way to ask for a number of
 * instances. Such a definition outlives us unless we take it back.
 */
function attachDefined(
  program: Pointer,
  module: string,
  symbol: string,
  tracefs: string,
): Attachment {
  const group = `${GROUP}${process.pid}`;
  const definitions = `${tracefs}/kprobe_events`;
  const undefine = () => writeFileSync(definitions, `-:${group}/${symbol}\n`, { flag: 'a' });
  const define = (target: string) =>
    writeFileSync(definitions, `r${BLOCKING_INSTANCES}:${group}/${symbol} ${target}\n`, {
      flag: 'a',
    });
  define(`${module}:${symbol}`);
  let event = -1;
  try {
    const id = Number(readFileSync(`${tracefs}/events/${group}/${symbol}/id`, 'utf8'));
    event = openTracepoint(id);
    const link = Libbpf.get().checkPointer(`cannot attach to ${symbol}`, (calls) =>
      calls.attachPerfEvent(program, event),
    );
    return attachment(`kretprobe:${BLOCKING_INSTANCES}`, program, link, undefine);
  } catch (error) {
    if (event >= 0) closeFd(event);
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

function findTracefs(): string | undefined {
  return TRACEFS.find((path) => {
    try {
      return readdirSync(`${path}/events`).length > 0;
    } catch {
      return false;
    }
  });
}

function attachment(
  method: string,
  program: Pointer,
  link: Pointer,
  after: () => void,
): Attachment {
  return {
    method,
    missed: () => missedBy(link) + skippedBy(program),
    detach() {
      Libbpf.get().calls.linkDestroy(link);
      after();
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
