/**
 * What one agent leaves to the next in a map beside the pinned ring: how far it has
 * read, and what is pinned. Agents write it; no program in the kernel does.
 */
import type { WireDescription } from '../events/wire-description.ts';
import { Libbpf, mapOptions } from './libbpf.ts';
import { Mapping, PAGE_SIZE } from './os.ts';
import { Progress, progressBytes } from './pins-progress.ts';

/** A new number for everything that another agent would misunderstand. */
const FORMAT = 2;
const MAGIC = 0x53736676;

/** Byte offsets: words, doubles, then two slots for the description, then the progress. */
const AT = { magic: 0, format: 4, described: 8, doubles: 64, descriptions: 128 } as const;
const DOUBLE = {
  ...{ owner: 0, missed: 1, callsFull: 2, unreadable: 3, missedGone: 4, snapshotPid: 5 },
} as const;
/** Bytes for a description: its length and CRC-32, then JSON. */
const DESCRIPTION = 1 << 16;
const DESCRIPTION_HEAD = 8;
const PROGRESS_AT = AT.descriptions + 2 * DESCRIPTION;

const BPF_MAP_TYPE_ARRAY = 2;
const BPF_F_MMAPABLE = 1 << 10;

/** One pinned link: a program at a kernel function. */
export interface PinnedLink {
  /** Also the name of the pin. */
  readonly program: string;
  readonly symbol: string;
  readonly method: string;
  /** The probe in tracefs that it hangs on. */
  readonly definition?: string;
}

export interface Description {
  /** Version of the agent that made the ring. */
  readonly agent: string;
  readonly wire: WireDescription;
  /** Keys of opaque() in hexadecimal: programs that are added must use the same. */
  readonly keys: string;
  readonly moduleBtf: boolean;
  /** Which loading of each module the links belong to. */
  readonly loaded: Readonly<Record<string, number>>;
  /** By point; also those about to be pinned. */
  readonly points: Readonly<Record<string, readonly PinnedLink[]>>;
}

/** Asked for only here: to load node:zlib takes as long as to open two probes. */
const checksum = (bytes: Buffer) => process.getBuiltinModule('node:zlib').crc32(bytes);

/** Losses that show in no sequence and have been reported, as the kernel counts them. */
export type ReportedLosses = Record<'missed' | 'callsFull' | 'unreadable', number>;

export class Session {
  readonly fd: number;
  readonly progress: Progress;
  readonly #mapping: Mapping;
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #bytes: Buffer;

  private constructor(fd: number, cpus: number) {
    this.fd = fd;
    this.#mapping = new Mapping('the session of the pinned ring', fd, 0, mapBytes(cpus), true);
    const { buffer } = this.#mapping;
    this.#words = new Int32Array(buffer, 0, AT.doubles / 4);
    this.#doubles = new Float64Array(buffer, AT.doubles, (AT.descriptions - AT.doubles) / 8);
    this.#bytes = Buffer.from(buffer);
    this.progress = new Progress(buffer, PROGRESS_AT, cpus);
  }

  /** @throws {LibbpfError} */
  static create(cpus: number): Session {
    const fd = Libbpf.get().check('cannot make the session of the pinned ring', (calls) =>
      calls.mapCreate(
        BPF_MAP_TYPE_ARRAY,
        'session',
        4,
        mapBytes(cpus),
        1,
        mapOptions(BPF_F_MMAPABLE),
      ),
    );
    return new Session(fd, cpus);
  }

  /** @throws in plain words when it is none that this agent understands */
  static open(fd: number, cpus: number): Session {
    const session = new Session(fd, cpus);
    const [magic, format] = session.#words;
    if (magic === MAGIC && format === FORMAT) return session;
    session.close();
    throw new Error(
      magic === MAGIC
        ? `its session has format ${format}, this agent reads format ${FORMAT}`
        : 'its session was never completed',
    );
  }

  /** @throws in plain words when it is damaged */
  get description(): Description {
    const at = this.#site(this.#words[AT.described >> 2]);
    const length = this.#bytes.readUInt32LE(at);
    const start = at + DESCRIPTION_HEAD;
    const json = this.#bytes.subarray(start, start + Math.min(length, DESCRIPTION));
    if (checksum(json) !== this.#bytes.readUInt32LE(at + 4)) {
      throw new Error('its session is damaged');
    }
    return JSON.parse(json.toString()) as Description;
  }

  /** Replaces the description as a whole, whenever this process may be killed. */
  describe(description: Description): void {
    const json = Buffer.from(JSON.stringify(description));
    if (json.length > DESCRIPTION - DESCRIPTION_HEAD) {
      throw new Error(`the description of what is pinned has ${json.length} bytes`);
    }
    const other = 1 - (this.#words[AT.described >> 2] & 1);
    const at = this.#site(other);
    this.#bytes.writeUInt32LE(json.length, at);
    this.#bytes.writeUInt32LE(checksum(json), at + 4);
    json.copy(this.#bytes, at + DESCRIPTION_HEAD);
    Atomics.store(this.#words, AT.described >> 2, other);
    this.#words[AT.format >> 2] = FORMAT;
    Atomics.store(this.#words, AT.magic >> 2, MAGIC);
  }

  /** The process that reads, or read last. */
  get owner(): number {
    return this.#doubles[DOUBLE.owner];
  }

  set owner(pid: number) {
    this.#doubles[DOUBLE.owner] = pid;
  }

  get reportedLosses(): ReportedLosses {
    const [, missed, callsFull, unreadable] = this.#doubles;
    return { missed, callsFull, unreadable };
  }

  set reportedLosses({ missed, callsFull, unreadable }: ReportedLosses) {
    this.#doubles[DOUBLE.missed] = missed;
    this.#doubles[DOUBLE.callsFull] = callsFull;
    this.#doubles[DOUBLE.unreadable] = unreadable;
  }

  /** What links that are gone had missed. */
  get missedGone(): number {
    return this.#doubles[DOUBLE.missedGone];
  }

  set missedGone(count: number) {
    this.#doubles[DOUBLE.missedGone] = count;
  }

  /** The process that takes a host snapshot, or did when it was killed; 0 if none does. */
  get snapshotPid(): number {
    return this.#doubles[DOUBLE.snapshotPid];
  }

  set snapshotPid(pid: number) {
    this.#doubles[DOUBLE.snapshotPid] = pid;
  }

  close(): void {
    this.#mapping.unmap();
  }

  #site(which: number): number {
    return AT.descriptions + (which & 1) * DESCRIPTION;
  }
}

function mapBytes(cpus: number): number {
  return Math.ceil((PROGRESS_AT + progressBytes(cpus)) / PAGE_SIZE) * PAGE_SIZE;
}
