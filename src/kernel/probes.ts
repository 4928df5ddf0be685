/**
 * All probes of this agent: picks for each point what the running kernel has,
 * loads the programs for it, attaches each point on its own, and knows of every
 * point whether it works and if not, why.
 *
 * Nothing is all or nothing. A module that is missing costs its own points until
 * it is loaded; a function that is missing costs one point.
 */
import { statSync } from 'node:fs';
import type { PointStatus } from '../events/source.ts';
import { WIRE } from '../events/wire.gen.ts';
import { describeWire, wireDifference } from '../events/wire-description.ts';
import type { PointName } from '../lifecycle/points.ts';
import { UserProblem } from '../problem.ts';
import {
  type AttachMethod,
  type Attachment,
  attach,
  attachTracepoint,
  closePlace,
  missProfile,
  openPlace,
  type Place,
  TRACEPOINT,
} from './attach.ts';
import { choose } from './candidates.ts';
import { kernelVersion } from './host.ts';
import { Lanes } from './lanes.ts';
import { Libbpf } from './libbpf.ts';
import { PAGE_SIZE } from './os.ts';
import { type PinOptions, type PinReport, Pins, SHARED_MAPS } from './pins.ts';
import type { Description, PinnedLink, Session } from './pins-session.ts';
import { OpaqueKeys, ProbeObject } from './probe-object.ts';
import {
  type Candidate,
  type Hook,
  PROBE_MODULES,
  PROBE_TABLE,
  type ProbeModule,
  type ProbePoint,
} from './probe-table.ts';
import { RingReader } from './ring.ts';
import { SEEN_FILES, SeenFiles } from './seen-files.ts';

const MODULE_LOAD = 'module_load';
const KERNEL_BTF = '/sys/kernel/btf/vmlinux';

export interface ProbesOptions {
  /** Where the compiled object is. */
  readonly directory: string;
  /** Bytes of the ring buffer: a power of two, at least a page. */
  readonly ringBytes: number;
  /** Whether modules' own BTF may be used; without it layouts are found by position and checked. */
  readonly moduleBtf: boolean;
  readonly method: AttachMethod;
  /** Where probes are to outlive this agent; what an earlier one left there is taken over. */
  readonly pin?: PinOptions;
}

/** Programs that are of use only together, and what to do once the kernel has or has not taken them. */
interface Unit {
  readonly programs: readonly string[];
  attach(object: ProbeObject): void;
  refused(reason: string): void;
}

interface Attached {
  readonly state: 'attached';
  readonly candidate: Candidate;
  readonly attachments: readonly Attachment[];
}

type State =
  | Attached
  | { readonly state: 'implied'; readonly candidate: Candidate }
  | { readonly state: 'waiting'; readonly reason: string }
  | { readonly state: 'failed'; readonly reason: string };

export class Probes {
  readonly ring: RingReader;
  readonly ringFd: number;
  readonly ringBytes: number;
  readonly lanes: Lanes;
  readonly #options: ProbesOptions;
  readonly #pins: Pins | undefined;
  readonly #keys: OpaqueKeys;
  readonly #cpus = Libbpf.get().check('cannot count CPUs', (calls) => calls.possibleCpus());
  /** Made by the first object that is loaded, which owns them. */
  #maps: ReadonlyMap<string, number> | undefined;
  readonly #objects = new Set<ProbeObject>();
  readonly #states = new Map<PointName, State>();
  /** What is pinned or will be, by point. */
  readonly #links = new Map<string, readonly PinnedLink[]>();
  /** Which loading of each module was last seen; code built into the kernel has none. */
  readonly #loaded = new Map<ProbeModule, number>();
  #moduleLoad: Attachment | undefined;
  #seenFiles: SeenFiles | Error = new Error('open files were not looked through');
  /** What probes that are gone had missed. */
  #missedGone = 0;

  /** Makes the ring and attaches whatever can be. @throws when nothing at all can work here */
  constructor(options: ProbesOptions) {
    checkRingBytes(options.ringBytes);
    this.#pins = options.pin && new Pins(options.pin, this.#cpus);
    const kept = this.#pins?.kept;
    // What is there was made with these, and what is added must fit.
    const ringBytes = kept?.ringBytes ?? options.ringBytes;
    const moduleBtf = kept?.description.moduleBtf ?? options.moduleBtf;
    this.#options = { ...options, ringBytes, moduleBtf };
    this.#keys = new OpaqueKeys(kept?.description.keys);
    this.#maps = kept?.maps;
    this.ringBytes = ringBytes;
    const points = this.#pointUnits(PROBE_MODULES);
    this.#load([...this.#moduleLoadUnits(), this.#filesUnit(), ...points]);
    this.#noteLinks();
    this.#pins?.dropAllBut(this.#pinnedPrograms());
    this.ringFd = this.#map('events');
    this.ring = new RingReader(this.ringFd, ringBytes, this.session?.progress);
    this.lanes = new Lanes(this.#map('lanes'), this.#cpus);
  }

  /** Attaches to modules that have come, lets go of those that have left. @returns which changed */
  refresh(): ProbeModule[] {
    const changed = PROBE_MODULES.filter(
      (module) => loadingOf(module) !== this.#loaded.get(module),
    );
    if (changed.length === 0) return [];
    for (const module of changed) this.#stop(module);
    const units = this.#pointUnits(changed);
    // With the types of a module that has come, more can be read of files that were there.
    if (units.length > 0) this.#load([this.#filesUnit(), ...units]);
    this.#noteLinks();
    return changed;
  }

  /** What was found where probes are pinned; undefined where they are not. */
  get pinned(): PinReport | undefined {
    return this.#pins?.report;
  }

  /** What is left to the next agent; undefined where nothing is pinned. */
  get session(): Session | undefined {
    return this.#pins?.session;
  }

  /** How often the kernel could not run a program since the ring was made; never less than before. */
  missed(): number {
    const profile = missProfile();
    let missed = this.session?.missedGone ?? this.#missedGone;
    for (const state of this.#states.values()) {
      if (state.state === 'attached') missed += missedBy(state.attachments, profile);
    }
    return missed;
  }

  statuses(): PointStatus[] {
    const profile = missProfile();
    return PROBE_TABLE.map((entry) => this.#status(entry, profile));
  }

  /** What looks into the files of all processes; an error where the kernel refuses that. */
  get seenFiles(): SeenFiles | Error {
    return this.#seenFiles;
  }

  /** Detaches everything and frees the ring; what is pinned is left as it is. */
  close(): void {
    for (const state of this.#states.values()) {
      if (state.state !== 'attached') continue;
      for (const one of state.attachments) this.#pins ? one.leave() : one.detach();
    }
    this.#states.clear();
    if (this.#pins) this.#moduleLoad?.leave();
    else this.#moduleLoad?.detach();
    if (this.#seenFiles instanceof SeenFiles) this.#seenFiles.close();
    this.ring.close();
    this.lanes.close();
    this.#pins?.release();
    for (const object of this.#objects) object.close();
  }

  /** Opens the object and makes sure that it speaks our wire format. */
  #open(): ProbeObject {
    const { directory, moduleBtf } = this.#options;
    const path = `${directory}/vfioscope.bpf.o`;
    const object = ProbeObject.open(path, moduleBtf ? undefined : KERNEL_BTF);
    try {
      const difference = wireDifference(WIRE, describeWire(object.btf()));
      if (difference) {
        throw new UserProblem(
          `${path} and this agent are of different versions: ${difference}`,
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

  /** Loads and attaches units; what the kernel refuses together is tried in parts. */
  #load(units: readonly Unit[]): void {
    const object = this.#open();
    try {
      if (this.#maps) {
        for (const [name, fd] of this.#maps) object.reuseMap(name, fd);
      } else {
        object.setMaxEntries('events', this.ringBytes);
        object.setMaxEntries('lanes', this.#cpus);
      }
      object.load(new Set(units.flatMap(({ programs }) => programs)));
    } catch (error) {
      object.close();
      if (units.length === 1 && !this.#maps) throw error;
      if (units.length > 1) {
        for (const part of apart(units, reasonOf(error))) this.#load(part);
      } else {
        for (const unit of units) unit.refused(reasonOf(error));
      }
      return;
    }
    this.#objects.add(object);
    if (this.#maps) this.#noteLinks();
    else {
      this.#maps = new Map(SHARED_MAPS.map((name) => [name, object.mapFd(name)]));
      this.#pins?.begin(this.#maps, this.#description());
    }
    for (const unit of units) unit.attach(object);
  }

  #map(name: string): number {
    const fd = this.#maps?.get(name);
    if (fd === undefined) throw new Error(`the map ${name} was not made`);
    return fd;
  }

  /** Tells the next agent which links there are, or will be in a moment. */
  #noteLinks(): void {
    this.#pins?.session.describe(this.#description());
  }

  #description(): Description {
    return {
      agent: this.#pins?.kept?.description.agent ?? this.#options.pin?.agent ?? '',
      // What is there can be read by it, and what is added by it only.
      wire: WIRE,
      keys: this.#keys.hexadecimal,
      moduleBtf: this.#options.moduleBtf,
      loaded: Object.fromEntries(this.#loaded),
      points: Object.fromEntries(this.#links),
    };
  }

  #pinnedPrograms(): Set<string> {
    return new Set([MODULE_LOAD, ...[...this.#links.values()].flat().map((one) => one.program)]);
  }

  /** Only makes the arrival of a module known sooner, so doing without it is no failure. */
  #moduleLoadUnits(): Unit[] {
    const place = { program: MODULE_LOAD, symbol: MODULE_LOAD, method: TRACEPOINT };
    const [taken] = this.#pins?.open([place]) ?? [];
    this.#moduleLoad = taken;
    if (taken) return [];
    const attach = (object: ProbeObject) => {
      try {
        this.#moduleLoad = attachTracepoint(object.program(MODULE_LOAD));
        this.#pins?.keep(MODULE_LOAD, this.#moduleLoad);
      } catch {
        // Modules are looked for every second anyway.
      }
    };
    return [{ programs: [MODULE_LOAD], attach, refused() {} }];
  }

  /** @returns how an earlier agent saw that point, if its probes are still there and of use */
  #takeOver({ point, module, candidates }: ProbePoint): Attached | undefined {
    const { loaded, points } = this.#pins?.kept?.description ?? {};
    const links = points?.[point];
    if (!links || this.#states.has(point)) return undefined;
    const candidate = candidates.find(({ hooks }) => isSame(hooks, links));
    const attachments =
      candidate && loaded?.[module] === loadingOf(module) ? this.#pins?.open(links) : undefined;
    if (!candidate || !attachments) {
      this.#pins?.drop(links);
      return undefined;
    }
    this.#links.set(point, links);
    return { state: 'attached', candidate, attachments };
  }

  #filesUnit(): Unit {
    return {
      programs: [SEEN_FILES],
      attach: (object) => {
        try {
          const next = SeenFiles.attach(object.program(SEEN_FILES));
          if (this.#seenFiles instanceof SeenFiles) this.#seenFiles.close();
          this.#seenFiles = next;
        } catch (error) {
          this.#seenFiles = new Error(reasonOf(error));
        }
      },
      refused: (reason) => {
        this.#seenFiles = new Error(reason);
      },
    };
  }

  /** Finds what each point of these modules can use here; notes of the others why they cannot. */
  #pointUnits(modules: readonly ProbeModule[]): Unit[] {
    for (const module of modules) {
      const loading = loadingOf(module);
      if (loading !== undefined) this.#loaded.set(module, loading);
    }
    const units: Unit[] = [];
    // What a point uses, for later ones that depend on it; also of those not attached yet.
    const using = new Map<PointName, Candidate>();
    const { method } = this.#options;
    const open = (module: string, hook: Hook) => openPlace(module, hook, method);
    const kernel = { version: kernelVersion(), open, close: closePlace };
    for (const [point, state] of this.#states) {
      if ('candidate' in state) using.set(point, state.candidate);
    }
    for (const entry of PROBE_TABLE.filter(({ module }) => modules.includes(module))) {
      const taken = this.#takeOver(entry);
      if (taken) {
        this.#states.set(entry.point, taken);
        using.set(entry.point, taken.candidate);
        continue;
      }
      const choice = choose(entry, using, kernel);
      if ('reason' in choice) {
        const waiting = !isLoaded(entry.module);
        const state = waiting ? 'waiting' : 'failed';
        const reason = waiting ? notLoaded(entry.module) : choice.reason;
        this.#states.set(entry.point, { state, reason });
        continue;
      }
      const { candidate, places } = choice;
      using.set(entry.point, candidate);
      if (places.length === 0) this.#states.set(entry.point, { state: 'implied', candidate });
      else {
        if (this.#pins) this.#links.set(entry.point, linksOf(candidate, places));
        units.push(this.#pointUnit(entry, candidate, places));
      }
    }
    return units;
  }

  #pointUnit({ point }: ProbePoint, candidate: Candidate, places: readonly Place[]): Unit {
    const { hooks } = candidate;
    const refused = (reason: string) => {
      this.#links.delete(point);
      this.#states.set(point, { state: 'failed', reason });
    };
    return {
      programs: hooks.map(({ program }) => program),
      attach: (object) => {
        const attachments: Attachment[] = [];
        const rest = [...places];
        try {
          // The end first, so that there is never a begin whose end goes unseen.
          for (let i = hooks.length - 1; i >= 0; i--) {
            const { program } = hooks[i];
            attachments.unshift(attach(object.program(program), rest[i]));
            rest.pop();
            this.#pins?.keep(program, attachments[0]);
          }
          this.#states.set(point, { state: 'attached', candidate, attachments });
        } catch (error) {
          this.#end(hooks.slice(rest.length), attachments);
          for (const place of rest) closePlace(place);
          refused(reasonOf(error));
        }
      },
      refused: (reason) => {
        for (const place of places) closePlace(place);
        refused(reason);
      },
    };
  }

  #stop(module: ProbeModule): void {
    for (const { point } of PROBE_TABLE.filter((entry) => entry.module === module)) {
      this.#detach(point);
      this.#states.set(point, { state: 'waiting', reason: notLoaded(module) });
    }
    this.#loaded.delete(module);
  }

  #detach(point: PointName): void {
    const state = this.#states.get(point);
    if (state?.state === 'attached') this.#end(state.candidate.hooks, state.attachments);
    this.#states.delete(point);
    this.#links.delete(point);
  }

  /** @param attachments of these hooks */
  #end(hooks: readonly Hook[], attachments: readonly Attachment[]): void {
    const profile = missProfile();
    for (const [i, one] of attachments.entries()) {
      if (this.#pins) this.#pins.end(hooks[i].program, one, profile);
      else {
        this.#missedGone += one.missed(profile);
        one.detach();
      }
    }
  }

  #status(entry: ProbePoint, profile: ReadonlyMap<string, number>): PointStatus {
    const { point, module, meaning } = entry;
    const state = this.#states.get(point);
    const base = { point, module, meaning, limited: false, missed: 0 };
    if (!state) return { ...base, state: 'failed', reason: 'it was not tried' };
    if ('reason' in state) return { ...base, ...state };
    const { toldBy, because } = state.candidate;
    if (toldBy && !this.#tells(toldBy)) {
      return { ...base, state: 'failed', reason: `it is told by ${toldBy}, which is not attached` };
    }
    if (state.state === 'implied') {
      return { ...base, state: 'implied', reason: `${because}; told by ${toldBy}` };
    }
    const { candidate, attachments } = state;
    const methods = attachments.map((one) => one.method);
    return {
      ...base,
      state: 'attached',
      symbol: symbolsOf(candidate),
      method: [...methods, ...(toldBy ? [`told by ${toldBy}`] : [])].join('+'),
      limited: candidate.hooks.some(({ blocks }) => blocks) && methods.includes('kretprobe'),
      missed: missedBy(attachments, profile),
    };
  }

  /** Whether that point is attached, or told itself by one that is. */
  #tells(point: PointName): boolean {
    const state = this.#states.get(point);
    if (state?.state !== 'implied') return state?.state === 'attached';
    const { toldBy } = state.candidate;
    return toldBy !== undefined && this.#tells(toldBy);
  }
}

function missedBy(
  attachments: readonly Attachment[],
  profile: ReadonlyMap<string, number>,
): number {
  return attachments.reduce((sum, one) => sum + one.missed(profile), 0);
}

function linksOf({ hooks }: Candidate, places: readonly Place[]): PinnedLink[] {
  return hooks.map(({ program, symbol }, i) => {
    const { method, definition } = places[i];
    return { program, symbol, method, ...(definition === undefined ? {} : { definition }) };
  });
}

/** Whether those are the programs and functions that were pinned. */
function isSame(hooks: readonly Hook[], links: readonly PinnedLink[]): boolean {
  return (
    hooks.length === links.length &&
    hooks.every(
      ({ program, symbol }, i) => program === links[i].program && symbol === links[i].symbol,
    )
  );
}

function symbolsOf({ hooks }: Candidate): string {
  return [...new Set(hooks.map(({ symbol }) => symbol))].join(', ');
}

function notLoaded(module: ProbeModule): string {
  return `the module ${module} is not loaded`;
}

/** What to try next: all but what the reason names, and that alone; halves where it names nothing. */
function apart(units: readonly Unit[], reason: string): readonly (readonly Unit[])[] {
  const isNamed = ({ programs }: Unit) => programs.some((one) => reason.includes(`prog '${one}'`));
  const [named, rest] = [units.filter(isNamed), units.filter((unit) => !isNamed(unit))];
  if (named.length > 0 && rest.length > 0) return [rest, named];
  const middle = units.length >> 1;
  return [units.slice(0, middle), units.slice(middle)];
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
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
