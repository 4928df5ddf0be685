/** The compiled probe object (bpf/vfioscope.bpf.c): opened, preset, and some of it loaded. */
import koffi from 'koffi';
import { UserProblem } from '../problem.ts';
import { Btf } from './btf.ts';
import { Libbpf, openOptions, type Pointer } from './libbpf.ts';
import { randomBytes } from './os.ts';

export class ProbeObject {
  readonly path: string;
  readonly #object: Pointer;
  readonly #libbpf = Libbpf.get();

  private constructor(path: string, object: Pointer) {
    this.path = path;
    this.#object = object;
  }

  /**
   * @param btf the only BTF to take layouts from; by default the kernel's and its modules'
   * @throws {LibbpfError} when the file is missing or not a BPF object
   */
  static open(path: string, btf?: string): ProbeObject {
    const object = Libbpf.get().checkPointer(
      `cannot read probe object ${path}`,
      (calls) => calls.objectOpen(path, openOptions(btf)),
      'open',
    );
    return new ProbeObject(path, object);
  }

  /** The types that the compiler recorded in the object. @throws when it has none */
  btf(): Btf {
    const btf = this.#libbpf.calls.objectBtf(this.#object);
    const size = new Uint32Array(1);
    const data = btf && this.#libbpf.calls.btfRawData(btf, size);
    if (!data) {
      throw new UserProblem(
        'build.object-unreadable',
        `${this.path} has no BTF: it was not built by bpf/Makefile`,
        'reinstall vfioscope, or build the objects with npm run build:bpf',
      );
    }
    return new Btf(new Uint8Array(koffi.view(data, size[0])));
  }

  /** Writes the keys of opaque(); every object of one agent needs the same. Before load. */
  preset(keys: OpaqueKeys): void {
    const size = new BigUint64Array(1);
    const value = this.#libbpf.checkPointer(`${this.path} has no preset`, (calls) =>
      calls.mapInitialValue(this.#map('.rodata.preset'), size),
    );
    new Uint8Array(koffi.view(value, Number(size[0]))).set(keys.bytes);
  }

  /** Makes map `name` the one behind `fd` instead of one of its own. Before load. */
  reuseMap(name: string, fd: number): void {
    this.#libbpf.check(`${this.path}: cannot share map ${name}`, (calls) =>
      calls.mapReuseFd(this.#map(name), fd),
    );
  }

  /** Before load. */
  setMaxEntries(name: string, entries: number): void {
    this.#libbpf.check(`${this.path}: cannot size map ${name} to ${entries}`, (calls) =>
      calls.mapSetMaxEntries(this.#map(name), entries),
    );
  }

  /** After load. */
  mapFd(name: string): number {
    return this.#libbpf.check(`${this.path}: map ${name}`, (calls) => calls.mapFd(this.#map(name)));
  }

  /**
   * Hands the maps and programs to the kernel.
   * @param programs all unless given
   * @throws {LibbpfError} with the verifier's words
   */
  load(programs?: ReadonlySet<string>): void {
    const { calls } = this.#libbpf;
    let program = programs ? calls.nextProgram(this.#object, null) : null;
    while (programs && program) {
      calls.setAutoload(program, programs.has(calls.programName(program)));
      program = calls.nextProgram(this.#object, program);
    }
    this.#libbpf.check(
      `the kernel refused ${this.path}`,
      (calls) => calls.objectLoad(this.#object),
      'load',
    );
  }

  program(name: string): Pointer {
    return this.#libbpf.checkPointer(`${this.path} has no program ${name}`, (calls) =>
      calls.findProgram(this.#object, name),
    );
  }

  /** Frees everything; programs that are still attached stay so until their link goes. */
  close(): void {
    this.#libbpf.calls.objectClose(this.#object);
  }

  #map(name: string): Pointer {
    return this.#libbpf.checkPointer(`${this.path} has no map ${name}`, (calls) =>
      calls.findMap(this.#object, name),
    );
  }
}

/** The secret behind opaque object ids: see `struct preset` in bpf/common.h. */
export class OpaqueKeys {
  readonly bytes: Uint8Array;

  /** @param hexadecimal those of an agent whose programs are still there; random ones otherwise */
  constructor(hexadecimal?: string) {
    this.bytes = hexadecimal === undefined ? randomBytes(16) : Buffer.from(hexadecimal, 'hex');
    this.bytes[8] |= 1;
  }

  get hexadecimal(): string {
    return Buffer.from(this.bytes).toString('hex');
  }
}
