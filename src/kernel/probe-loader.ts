/** Loads probe objects, whose maps are all the same, and hands each program to whoever wants it. */
import { existsSync } from 'node:fs';
import { WIRE } from '../events/wire.gen.ts';
import { describeWire, wireDifference } from '../events/wire-description.ts';
import { UserProblem } from '../problem.ts';
import { isSince } from './host.ts';
import { SHARED_MAPS } from './pins.ts';
import { type OpaqueKeys, ProbeObject } from './probe-object.ts';
import { PROBE_MODULES } from './probe-table.ts';

const BTF = '/sys/kernel/btf';

/** The kernels that the smaller object is made for. */
const TYPED_SINCE = [6, 1] as const;

/** Programs that are of use only together, and what to do once the kernel has or has not taken them. */
export interface Unit {
  readonly programs: readonly string[];
  attach(object: ProbeObject): void;
  refused(reason: string): void;
}

export interface LoaderOptions {
  /** Where the compiled object is. */
  readonly directory: string;
  /** Bytes of the ring buffer: a power of two, at least a page. */
  readonly ringBytes: number;
  /** Whether modules' own BTF may be used; without it layouts are found by position and checked. */
  readonly moduleBtf: boolean;
}

export type Maps = ReadonlyMap<string, number>;

/** What all objects of one agent share. */
export interface Shared {
  readonly keys: OpaqueKeys;
  /** CPUs that there may ever be. */
  readonly cpus: number;
  /** Those of an earlier agent; else made by the first object that is loaded, which owns them. */
  readonly maps: Maps | undefined;
}

export class ProbeLoader {
  readonly #options: LoaderOptions;
  readonly #shared: Shared;
  #maps: Maps | undefined;
  readonly #objects = new Set<ProbeObject>();
  readonly #onLoaded: (maps: Maps) => void;

  /** @param onLoaded is told before programs of an object that was loaded are attached */
  constructor(options: LoaderOptions, shared: Shared, onLoaded: (maps: Maps) => void) {
    this.#options = options;
    this.#shared = shared;
    this.#maps = shared.maps;
    this.#onLoaded = onLoaded;
  }

  /**
   * Loads and attaches units; what the kernel refuses together is tried in parts.
   * @throws when the kernel takes nothing at all
   */
  load(units: readonly Unit[]): void {
    const object = this.#open();
    try {
      this.#shareMaps(object);
      object.load(new Set(units.flatMap(({ programs }) => programs)));
    } catch (error) {
      object.close();
      const reason = error instanceof Error ? error.message : String(error);
      if (units.length > 1) for (const part of apart(units, reason)) this.load(part);
      else if (!this.#maps) throw error;
      else for (const unit of units) unit.refused(reason);
      return;
    }
    this.#attach(object, units);
  }

  /** Descriptors of the shared maps, by name; there is none before something was loaded. */
  get maps(): Maps {
    return this.#maps ?? new Map();
  }

  map(name: string): number {
    const fd = this.maps.get(name);
    if (fd === undefined) throw new Error(`the map ${name} was not made`);
    return fd;
  }

  close(): void {
    for (const object of this.#objects) object.close();
  }

  /** Opens the object and makes sure that it speaks our wire format. */
  #open(): ProbeObject {
    const { directory, moduleBtf } = this.#options;
    const name = moduleBtf && modulesTellTypes() ? 'vfioscope-typed' : 'vfioscope';
    const path = `${directory}/${name}.bpf.o`;
    const object = ProbeObject.open(path, moduleBtf ? undefined : `${BTF}/vmlinux`);
    try {
      const difference = wireDifference(WIRE, describeWire(object.btf()));
      if (difference) {
        throw new UserProblem(
          `${path} and this agent are of different versions: ${difference}`,
          'install both from one build',
        );
      }
      object.preset(this.#shared.keys);
      return object;
    } catch (error) {
      object.close();
      throw error;
    }
  }

  #shareMaps(object: ProbeObject): void {
    if (this.#maps) {
      for (const [name, fd] of this.#maps) object.reuseMap(name, fd);
    } else {
      object.setMaxEntries('events', this.#options.ringBytes);
      object.setMaxEntries('lanes', this.#shared.cpus);
    }
  }

  #attach(object: ProbeObject, units: readonly Unit[]): void {
    this.#objects.add(object);
    this.#maps ??= new Map(SHARED_MAPS.map((name) => [name, object.mapFd(name)]));
    this.#onLoaded(this.#maps);
    for (const unit of units) unit.attach(object);
  }
}

/** Whether offsets in all modules that are loaded can be had from their types; bpf/layout.h tells the rest. */
function modulesTellTypes(): boolean {
  return (
    isSince(TYPED_SINCE) &&
    PROBE_MODULES.every(
      (module) => !existsSync(`/sys/module/${module}`) || existsSync(`${BTF}/${module}`),
    )
  );
}

/** What to try next: all but what the reason names, and that alone; halves where it names nothing. */
function apart(units: readonly Unit[], reason: string): readonly (readonly Unit[])[] {
  const isNamed = ({ programs }: Unit) => programs.some((one) => reason.includes(`prog '${one}'`));
  const [named, rest] = [units.filter(isNamed), units.filter((unit) => !isNamed(unit))];
  if (named.length > 0 && rest.length > 0) return [rest, named];
  const middle = units.length >> 1;
  return [units.slice(0, middle), units.slice(middle)];
}
