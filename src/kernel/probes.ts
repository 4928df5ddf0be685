/** All probes of this agent: the points, the ring that they write to, and who they are left to. */
import type { PointState, PointStatus } from '../events/source.ts';
import { UserProblem } from '../problem.ts';
import type { AttachMethod } from './attach.ts';
import { HOST_PROGRAMS, HostPrograms } from './host-programs.ts';
import { Lanes } from './lanes.ts';
import { Libbpf } from './libbpf.ts';
import { PAGE_SIZE } from './os.ts';
import { PinnedPoints } from './pinned-points.ts';
import { type PinOptions, type PinReport, Pins } from './pins.ts';
import type { Session } from './pins-session.ts';
import { Points } from './points.ts';
import { type LoaderOptions, ProbeLoader, type Unit } from './probe-loader.ts';
import { OpaqueKeys } from './probe-object.ts';
import { PROBE_MODULES, type ProbeModule } from './probe-table.ts';
import { RingReader } from './ring.ts';
import type { SeenFiles } from './seen-files.ts';
import { WatchedPoints } from './watched-points.ts';

export interface ProbesOptions extends LoaderOptions {
  readonly method: AttachMethod;
  /** Where probes are to outlive this agent; what an earlier one left there is taken over. */
  readonly pin?: PinOptions;
}

export class Probes {
  readonly ring: RingReader;
  readonly ringFd: number;
  readonly ringBytes: number;
  readonly lanes: Lanes;
  readonly #points: Points;
  readonly #host: HostPrograms;
  readonly #loader: ProbeLoader;
  readonly #pins: Pins | undefined;
  #watched: WatchedPoints | undefined;
  /** With a module that has come, more can be read of files that were there. */
  #filesAreOld = true;

  /** Makes the ring and attaches whatever can be. @throws when nothing at all can work here */
  constructor({ pin, method, ...asked }: ProbesOptions) {
    checkRingBytes(asked.ringBytes);
    const cpus = Libbpf.get().check('cannot count CPUs', (calls) => calls.possibleCpus());
    this.#pins = pin && new Pins(pin, cpus);
    const kept = this.#pins?.kept;
    // What is there was made with these, and what is added must fit.
    const options = {
      directory: asked.directory,
      ringBytes: kept?.ringBytes ?? asked.ringBytes,
      moduleBtf: kept?.description.moduleBtf ?? asked.moduleBtf,
    };
    const keys = new OpaqueKeys(kept?.description.keys);
    const origin = { agent: pin?.agent ?? '', keys: keys.hexadecimal, ...options };
    this.#points = new Points(method, this.#pins && new PinnedPoints(this.#pins, origin));
    this.#host = new HostPrograms(this.#pins);
    this.#loader = new ProbeLoader(options, { keys, cpus, maps: kept?.maps }, (maps) =>
      this.#points.describe(maps),
    );
    this.#attach([...this.#host.moduleLoadUnits(), ...this.#points.open(PROBE_MODULES)]);
    this.#points.describe(this.#loader.maps);
    this.#points.dropUnknown(...HOST_PROGRAMS);
    this.ringBytes = options.ringBytes;
    this.ringFd = this.#loader.map('events');
    this.ring = new RingReader(this.ringFd, options.ringBytes, this.session?.progress);
    this.lanes = new Lanes(this.#loader.map('lanes'), cpus);
  }

  /** What is attached now begins when all of it is; what was attached before goes on meanwhile. */
  #attach(units: readonly Unit[]): void {
    this.#watch();
    this.#load(units);
    this.#watch();
  }

  #load(units: readonly Unit[]): void {
    if (units.length > 0) this.#loader.load(units);
  }

  /** Lets the programs tell of all points that are attached now. */
  #watch(): void {
    const fd = this.#loader.maps.get('watched');
    // Nobody is told of anything before there is a map.
    if (fd === undefined) return;
    this.#watched ??= new WatchedPoints(fd);
    this.#watched.set(this.#points.watched());
  }

  /** Attaches to modules that have come, lets go of those that have left. @returns which changed */
  refresh(): ProbeModule[] {
    const changed = this.#points.changed();
    if (changed.length === 0) return [];
    for (const module of changed) this.#points.stop(module);
    this.#attach(this.#points.open(changed));
    this.#points.describe(this.#loader.maps);
    this.#filesAreOld = true;
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
    return this.#points.missed();
  }

  statuses(): PointStatus[] {
    return this.#points.statuses();
  }

  /** Sooner told, because the kernel is asked for no counts. */
  states(): PointState[] {
    return this.#points.states();
  }

  /**
   * What looks into the files of all processes; an error where the kernel refuses that. It is
   * the largest program, and loaded only when it is asked for: the probes do not wait for it.
   */
  get seenFiles(): SeenFiles | Error {
    if (this.#filesAreOld) this.#load([this.#host.filesUnit()]);
    this.#filesAreOld = false;
    return this.#host.seenFiles;
  }

  /** Detaches everything and frees the ring; what is pinned is left as it is. */
  close(): void {
    this.#points.close();
    this.#host.close();
    this.ring.close();
    this.lanes.close();
    this.#watched?.close();
    this.#pins?.release();
    this.#loader.close();
  }
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
