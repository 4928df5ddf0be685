/** All probes of this agent: the points, the ring that they write to, and who they are left to. */
import { POINTS, type PointName } from '../events/points.ts';
import type { PointState, PointStatus } from '../events/source.ts';
import { UserProblem } from '../problem.ts';
import type { AttachMethod, RunTime } from './attach.ts';
import { CpuCounters } from './cpu-counters.ts';
import { HOST_PROGRAMS, HostPrograms } from './host-programs.ts';
import { Libbpf } from './libbpf.ts';
import { PAGE_SIZE } from './os.ts';
import { PinnedPoints } from './pinned-points.ts';
import { type PinOptions, type PinReport, Pins } from './pins.ts';
import type { Session } from './pins-session.ts';
import { Points } from './points.ts';
import { type LoaderOptions, ProbeLoader, type Unit } from './probe-loader.ts';
import { OpaqueKeys } from './probe-object.ts';
import type { ProbeModule } from './probe-point.ts';
import { PROBE_MODULES } from './probe-table.ts';
import { RingReader } from './ring.ts';
import { DescriptorReserve, isShortage, Retries } from './shortage.ts';
import type { SnapshotFiles } from './snapshot-files.ts';
import type { HostTraits } from './traits.ts';
import { WatchedPoints } from './watched-points.ts';

/** Descriptors of one hook: the event, the link and the program. */
const OF_A_HOOK = 3;
/** Descriptors that loading an object takes until it is closed, and that a host snapshot takes. */
const OF_AN_OBJECT = 32;

export interface ProbesOptions extends LoaderOptions {
  readonly method: AttachMethod;
  /** Where probes are to outlive this agent; what an earlier one left there is taken over. */
  readonly pin?: PinOptions;
}

export class Probes {
  readonly ring: RingReader;
  readonly ringFd: number;
  readonly ringBytes: number;
  readonly cpuCounters: CpuCounters;
  readonly #points: Points;
  readonly #host: HostPrograms;
  readonly #loader: ProbeLoader;
  readonly #pins: Pins | undefined;
  #watched: WatchedPoints | undefined;
  /** With a module that has come, more can be read of files that were there. */
  #filesAreOld = true;
  readonly #reserve = new DescriptorReserve();
  readonly #retries = new Retries();

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
    const references = { agent: pin?.agent ?? '', keys: keys.hexadecimal, ...options };
    const pinned = this.#pins && new PinnedPoints(this.#pins, references);
    this.#points = new Points(method, pinned, options.moduleBtf);
    this.#host = new HostPrograms(this.#pins);
    const shared = { keys, cpus, maps: kept?.maps, traits: () => this.traits.values };
    this.#loader = new ProbeLoader(options, shared, (maps) => this.#points.describe(maps));
    this.#attach([...this.#host.moduleLoadUnits(), ...this.#points.open(PROBE_MODULES)]);
    this.#points.describe(this.#loader.maps);
    this.#points.dropUnknown(...HOST_PROGRAMS);
    this.ringBytes = options.ringBytes;
    this.ringFd = this.#loader.map('events');
    this.ring = new RingReader(this.ringFd, options.ringBytes, this.session?.progress);
    this.cpuCounters = new CpuCounters(this.#loader.map('cpu_counters'), cpus);
    this.#keepReserve();
  }

  /** What is attached now begins when all of it is; what was attached before continues meanwhile. */
  #attach(units: readonly Unit[]): void {
    this.#watch();
    this.#load(units);
    this.#watch();
  }

  #load(units: readonly Unit[]): void {
    if (units.length > 0) this.#loader.load(units);
  }

  /** Lets the programs emit records of all points that are attached now. */
  #watch(): void {
    const fd = this.#loader.maps.get('watched');
    // Programs emit nothing before there is a map.
    if (fd === undefined) return;
    this.#watched ??= new WatchedPoints(fd);
    this.#watched.set(this.#points.watched().map((point) => POINTS[point]));
  }

  /**
   * Attaches to modules that were loaded, detaches from those that were unloaded, and tries again what
   * was refused for want of descriptors or memory.
   * @returns which changed
   */
  refresh(): ProbeModule[] {
    const changed = this.#points.changed();
    const now = performance.now();
    const short = this.#retries.isDue(now) ? this.#points.short() : [];
    const modules = [...new Set([...changed, ...short])];
    if (modules.length === 0) return [];
    const before = this.#points.watched().length;
    // Detaching opens files of tracefs, too. Nothing else can take a descriptor before it is done.
    this.#reserve.release();
    for (const module of changed) this.#points.stop(module);
    this.#attach(this.#points.open(modules));
    this.#keepReserve();
    this.#points.describe(this.#loader.maps);
    this.#retries.tried(this.shortage !== undefined, now);
    const isOther = changed.length > 0 || this.#points.watched().length !== before;
    if (isOther) this.#filesAreOld = true;
    return isOther ? modules : [];
  }

  /** Whether another {@link refresh} is due soon. */
  get isModuleInTransit(): boolean {
    return this.#points.isModuleInTransit;
  }

  /**
   * Detaches points until {@link restore}; nothing of them stays pinned. What was observed before is in the ring.
   * @param reason why, in words, for the status of the points
   */
  giveUp(points: readonly PointName[], reason: string): void {
    this.#reserve.release();
    const end = this.#points.giveUp(points, reason);
    this.#watch();
    end();
    this.#keepReserve();
    this.#points.describe(this.#loader.maps);
  }

  /** Attaches again what {@link giveUp} detached, as far as its modules are loaded. */
  restore(): void {
    this.#reserve.release();
    this.#attach(this.#points.restore());
    this.#keepReserve();
    this.#points.describe(this.#loader.maps);
  }

  /** What the kernel has counted for the programs of each attached point, while it kept statistics. */
  runTimes(): ReadonlyMap<PointName, RunTime> {
    return this.#points.runTimes();
  }

  /** Enough for the probes that are not attached now. What a module had that has left is taken at once. */
  #keepReserve(): void {
    this.#reserve.fill(OF_A_HOOK * this.#points.unattachedHooks() + OF_AN_OBJECT);
  }

  /** Why a point of a loaded module is not watched yet, where another attempt may succeed. */
  get shortage(): string | undefined {
    return this.#points.shortage;
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

  /** What the kernel does, as far as its modules are loaded. */
  get traits(): HostTraits {
    return this.#points.traits;
  }

  /** Cheaper, because the kernel is not asked for counts. */
  states(): PointState[] {
    return this.#points.states();
  }

  /**
   * Lists the files of all processes; an error where the kernel refuses that. It is
   * the largest program, and loaded only when it is asked for: the probes do not wait for it.
   */
  get snapshotFiles(): SnapshotFiles | Error {
    if (this.#filesAreOld) {
      this.#reserve.release();
      this.#load([this.#host.filesUnit()]);
      this.#keepReserve();
    }
    this.#filesAreOld = isShortage(this.#host.snapshotFiles);
    return this.#host.snapshotFiles;
  }

  /** Detaches everything and frees the ring; what is pinned is left as it is. */
  close(): void {
    this.#reserve.release();
    this.#points.close();
    this.#host.close();
    this.ring.close();
    this.cpuCounters.close();
    this.#watched?.close();
    this.#pins?.release();
    this.#loader.close();
  }
}

/** @throws when the kernel would not accept the size */
function checkRingBytes(bytes: number): void {
  if (bytes < PAGE_SIZE || bytes > 2 ** 30 || (bytes & (bytes - 1)) !== 0) {
    throw new UserProblem(
      'ring.invalid-size',
      `a ring buffer of ${bytes} bytes is not possible`,
      `set ring.bytes to a power of two from ${PAGE_SIZE} to ${2 ** 30}, such as ${2 ** 20}`,
    );
  }
}
