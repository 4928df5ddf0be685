/**
 * Loads probe objects, whose maps are all the same, and hands each program to whoever wants it. An object is
 * closed as soon as its programs are attached: links and maps keep what they need, and modules that come
 * and go must cost neither descriptors nor memory.
 */

import { existsSync } from 'node:fs';
import type { Traits } from '../events/traits.ts';
import { WIRE } from '../events/wire.gen.ts';
import { wireDifference } from '../events/wire-description.ts';
import { UserProblem } from '../problem.ts';
import { describeWire } from './describe-wire.ts';
import { LibbpfError } from './libbpf.ts';
import { closeFd, duplicate } from './os.ts';
import { SHARED_MAPS } from './pins.ts';
import { type OpaqueKeys, ProbeObject } from './probe-object.ts';
import { PROBE_MODULES } from './probe-table.ts';
import { isShortage } from './shortage.ts';

const BTF = '/sys/kernel/btf';

/** Programs that are of use only together, and what to do once the kernel has or has not taken them. */
export interface Unit {
  readonly programs: readonly string[];
  attach(object: ProbeObject): void;
  refused(error: unknown): void;
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
  /** Those of an earlier agent; else made by the first object that is loaded. */
  readonly maps: Maps | undefined;
  /** The traits of the host, as its modules are now. */
  readonly traits: () => Traits;
}

export class ProbeLoader {
  readonly #options: LoaderOptions;
  readonly #shared: Shared;
  #maps: Maps | undefined;
  readonly #onLoaded: (maps: Maps) => void;
  readonly #open: typeof openObject;

  /** @param onLoaded is called before programs of an object that was loaded are attached */
  constructor(
    options: LoaderOptions,
    shared: Shared,
    onLoaded: (maps: Maps) => void,
    open = openObject,
  ) {
    this.#options = options;
    this.#shared = shared;
    this.#maps = shared.maps;
    this.#onLoaded = onLoaded;
    this.#open = open;
  }

  /**
   * Loads and attaches units; what the kernel refuses together is tried in parts.
   * @throws when the kernel takes nothing at all
   */
  load(units: readonly Unit[]): void {
    let object: ProbeObject | undefined;
    try {
      object = this.#open(this.#options, this.#shared);
      this.#shareMaps(object);
      object.load(new Set(units.flatMap(({ programs }) => programs)));
      this.#maps ??= mapsOf(object);
    } catch (error) {
      object?.close();
      this.#refuse(units, error);
      return;
    }
    this.#onLoaded(this.#maps);
    for (const unit of units) unit.attach(object);
    object.close();
  }

  /** Parts may be accepted where the whole is not, but no part has more descriptors or memory. */
  #refuse(units: readonly Unit[], error: unknown): void {
    const isForParts = error instanceof LibbpfError && error.step === 'load' && !isShortage(error);
    if (isForParts && units.length > 1) for (const part of apart(units, error)) this.load(part);
    else if (!this.#maps) throw error;
    else for (const unit of units) unit.refused(error);
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
    // Those of an earlier agent belong to whoever found them.
    if (!this.#shared.maps) for (const fd of this.maps.values()) closeFd(fd);
  }

  #shareMaps(object: ProbeObject): void {
    if (this.#maps) {
      for (const [name, fd] of this.#maps) object.reuseMap(name, fd);
    } else {
      object.setMaxEntries('events', this.#options.ringBytes);
      object.setMaxEntries('cpu_counters', this.#shared.cpus);
    }
  }
}

/** Opens the object and makes sure that it has our wire format. */
function openObject(
  { directory, moduleBtf }: LoaderOptions,
  { keys, traits }: Shared,
): ProbeObject {
  const name = moduleBtf && modulesHaveTypes(traits()) ? 'vfioscope-typed' : 'vfioscope';
  const path = `${directory}/${name}.bpf.o`;
  const object = ProbeObject.open(path, moduleBtf ? undefined : `${BTF}/vmlinux`);
  try {
    const difference = wireDifference(WIRE, describeWire(object.btf()));
    if (difference) {
      throw new UserProblem(
        'build.version-mismatch',
        `${path} and this agent are of different versions: ${difference}`,
        'install both from one build',
      );
    }
    object.preset(keys);
    return object;
  } catch (error) {
    object.close();
    throw error;
  }
}

function mapsOf(object: ProbeObject): Maps {
  return new Map(SHARED_MAPS.map((name) => [name, duplicate(object.mapFd(name))]));
}

/**
 * Whether offsets in all modules that are loaded are known from their types, and these are those that the
 * smaller object is made for; bpf/layout.h says what follows.
 */
function modulesHaveTypes({ mdevsHaveDriver, vfioDeviceIsCounted }: Traits): boolean {
  return (
    mdevsHaveDriver !== false &&
    vfioDeviceIsCounted !== false &&
    PROBE_MODULES.every(
      (module) => !existsSync(`/sys/module/${module}`) || existsSync(`${BTF}/${module}`),
    )
  );
}

/** What to try next: all but what libbpf names, and that alone; halves where it names nothing. */
function apart(units: readonly Unit[], error: unknown): readonly (readonly Unit[])[] {
  const messages = error instanceof LibbpfError ? error.messages : [];
  const isNamed = ({ programs }: Unit) =>
    programs.some((one) => messages.some((message) => message.includes(`prog '${one}'`)));
  const [named, rest] = [units.filter(isNamed), units.filter((unit) => !isNamed(unit))];
  if (named.length > 0 && rest.length > 0) return [rest, named];
  const middle = units.length >> 1;
  return [units.slice(0, middle), units.slice(middle)];
}
