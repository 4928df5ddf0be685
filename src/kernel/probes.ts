/**
 * All probes of this agent: loads one object per kernel module, attaches each
 * point on its own, and knows of every point whether it works and if not, why.
 *
 * Nothing is all or nothing. A module that is missing costs its own points until
 * it is loaded; a function that is missing costs one point.
 */
import { statSync } from 'node:fs';
import { WIRE } from '../events/wire.gen.ts';
import { describeWire, wireDifference } from '../events/wire-description.ts';
import type { PointName } from '../lifecycle/points.ts';
import { UserProblem } from '../problem.ts';
import { type Attachment, attachEntry, attachReturn, attachTracepoint } from './attach.ts';
import { Lanes } from './lanes.ts';
import { Libbpf, LibbpfError } from './libbpf.ts';
import { PAGE_SIZE } from './os.ts';
import { OpaqueKeys, ProbeObject } from './probe-object.ts';
import { PROBE_MODULES, PROBE_TABLE, type ProbeModule, type ProbePoint } from './probe-table.ts';
import { RingReader } from './ring.ts';

const SHARED_MAPS = ['events', 'lanes', 'calls'];

export interface PointStatus {
  readonly point: PointName;
  readonly module: string;
  readonly meaning: string;
  /** waiting: its module is not loaded. failed: it cannot work here; the reason says why. */
  readonly state: 'attached' | 'waiting' | 'failed';
  /** The kernel function in use. */
  readonly symbol?: string;
  readonly method?: string;
  readonly reason?: string;
  /** Times the kernel could not run a program of this point. */
  readonly missed: number;
  /** Its function may block, and only a few calls in flight can be watched: tracefs is not writable. */
  readonly limited: boolean;
}

export interface ProbesOptions {
  /** Where the compiled objects are. */
  readonly directory: string;
  /** Bytes of the ring buffer: a power of two, at least a page. */
  readonly ringBytes: number;
}

interface Attached {
  readonly symbol: string;
  readonly attachments: readonly Attachment[];
  readonly limited: boolean;
}

type State = Attached | { readonly reason: string; readonly waiting: boolean };

export class Probes {
  readonly ring: RingReader;
  readonly ringFd: number;
  readonly ringBytes: number;
  readonly lanes: Lanes;
  readonly #options: ProbesOptions;
  readonly #keys = new OpaqueKeys();
  readonly #core: ProbeObject;
  readonly #objects = new Map<ProbeModule, ProbeObject>();
  readonly #states = new Map<PointName, State>();
  /** Which loading of each module was last seen; code built into the kernel has none. */
  readonly #loaded = new Map<ProbeModule, number>();

  /** Makes the ring and attaches whatever can be. @throws when nothing at all can work here */
  constructor(options: ProbesOptions) {
    checkRingBytes(options.ringBytes);
    this.#options = options;
    this.ringBytes = options.ringBytes;
    const cpus = Libbpf.get().check('cannot count CPUs', (calls) => calls.possibleCpus());
    this.#core = this.#open('core');
    this.#core.setMaxEntries('events', options.ringBytes);
    this.#core.setMaxEntries('lanes', cpus);
    this.#core.load();
    this.ringFd = this.#core.mapFd('events');
    this.ring = new RingReader(this.ringFd, options.ringBytes);
    this.lanes = new Lanes(this.#core.mapFd('lanes'), cpus);
    this.#attachModuleLoad();
    for (const module of PROBE_MODULES) this.#start(module);
  }

  /** Attaches to modules that have come, lets go of those that have left. @returns which changed */
  refresh(): ProbeModule[] {
    return PROBE_MODULES.filter((module) => {
      const loaded = loadingOf(module);
      if (loaded === this.#loaded.get(module)) return false;
      this.#stop(module);
      if (loaded !== undefined) this.#start(module);
      return true;
    });
  }

  statuses(): PointStatus[] {
    return PROBE_TABLE.map((entry) => status(entry, this.#states.get(entry.point)));
  }

  /** Detaches everything and frees the ring. */
  close(): void {
    for (const module of PROBE_MODULES) this.#stop(module);
    this.#detach('module.load');
    this.ring.close();
    this.lanes.close();
    this.#core.close();
  }

  /** Opens an object and makes sure that it speaks our wire format. */
  #open(name: string): ProbeObject {
    const object = ProbeObject.open(`${this.#options.directory}/${name}.bpf.o`);
    try {
      const difference = wireDifference(WIRE, describeWire(object.btf()));
      if (difference) {
        throw new UserProblem(
          `${object.path} and this agent are of different versions: ${difference}`,
          'install both from one build',
        );
      }
      object.preset(this.#keys);
      return object;
    } catch (error) {
      object.close();
      throw error;
    }
  }

  #start(module: ProbeModule): void {
    const entries = PROBE_TABLE.filter((entry) => entry.module === module);
    const loaded = loadingOf(module);
    if (loaded !== undefined) this.#loaded.set(module, loaded);
    let object: ProbeObject | undefined;
    try {
      object = this.#open(module);
      for (const map of SHARED_MAPS) object.reuseMap(map, this.#core.mapFd(map));
      object.load();
      this.#objects.set(module, object);
      for (const entry of entries) this.#states.set(entry.point, attachPoint(object, entry));
    } catch (error) {
      object?.close();
      const waiting = !isLoaded(module);
      const reason = waiting ? notLoaded(module) : reasonOf(error);
      for (const entry of entries) this.#states.set(entry.point, { reason, waiting });
    }
  }

  #stop(module: ProbeModule): void {
    for (const { point } of PROBE_TABLE.filter((entry) => entry.module === module)) {
      this.#detach(point);
      this.#states.set(point, { reason: notLoaded(module), waiting: true });
    }
    this.#objects.get(module)?.close();
    this.#objects.delete(module);
    this.#loaded.delete(module);
  }

  #detach(point: PointName): void {
    const state = this.#states.get(point);
    if (state && 'attachments' in state) for (const one of state.attachments) one.detach();
    this.#states.delete(point);
  }

  /** Only makes the arrival of a module known sooner, so doing without it is no failure. */
  #attachModuleLoad(): void {
    try {
      const attachment = attachTracepoint(this.#core.program('module_load'));
      this.#states.set('module.load', {
        symbol: 'module:module_load',
        attachments: [attachment],
        limited: false,
      });
    } catch (error) {
      this.#states.set('module.load', { reason: reasonOf(error), waiting: false });
    }
  }
}

/** The end first, so that there is never a begin whose end goes unseen. */
function attachPoint(object: ProbeObject, { module, candidates }: ProbePoint): State {
  const reasons: string[] = [];
  for (const { symbol, begin, end, blocks = false } of candidates) {
    const attachments: Attachment[] = [];
    try {
      if (end) attachments.push(attachReturn(object.program(end), module, symbol, blocks));
      attachments.unshift(attachEntry(object.program(begin), module, symbol));
      const limited = blocks && attachments.some(({ method }) => method === 'kretprobe');
      return { symbol, attachments, limited };
    } catch (error) {
      for (const one of attachments) one.detach();
      reasons.push(missingOr(symbol, error));
    }
  }
  return isLoaded(module)
    ? { reason: reasons.join('; '), waiting: false }
    : { reason: notLoaded(module), waiting: true };
}

function notLoaded(module: ProbeModule): string {
  return `the module ${module} is not loaded`;
}

function missingOr(symbol: string, error: unknown): string {
  return error instanceof LibbpfError && error.isMissing
    ? `this kernel has no function ${symbol}: it was renamed, or inlined by the compiler`
    : reasonOf(error);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function status({ point, module, meaning }: ProbePoint, state: State | undefined): PointStatus {
  const base = { point, module, meaning, limited: false };
  if (!state) return { ...base, state: 'failed', reason: 'it was not tried', missed: 0 };
  if (!('attachments' in state)) {
    return {
      ...base,
      state: state.waiting ? 'waiting' : 'failed',
      reason: state.reason,
      missed: 0,
    };
  }
  return {
    ...base,
    state: 'attached',
    symbol: state.symbol,
    method: state.attachments.map((one) => one.method).join('+'),
    limited: state.limited,
    missed: state.attachments.reduce((sum, one) => sum + one.missed(), 0),
  };
}

function isLoaded(module: ProbeModule): boolean {
  return loadingOf(module) !== undefined;
}

/**
 * A number for this loading of a module: one that was unloaded and loaded again
 * between two looks has another, and none of the probes that it had before.
 */
function loadingOf(module: ProbeModule): number | undefined {
  return statSync(`/sys/module/${module}`, { throwIfNoEntry: false })?.ino;
}

/** @throws when the kernel would not accept the size */
function checkRingBytes(bytes: number): void {
  if (bytes < PAGE_SIZE || bytes > 2 ** 30 || (bytes & (bytes - 1)) !== 0) {
    throw new UserProblem(
      `a ring buffer of ${bytes} bytes is not possible`,
      `set ring.bytes to a power of two from ${PAGE_SIZE} to ${2 ** 30}, such as ${2 ** 20}`,
    );
  }
}
