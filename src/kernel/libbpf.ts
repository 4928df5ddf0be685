/**
 * libbpf and the few libc calls around it, bound through koffi.
 *
 * libbpf reports failures in two ways: a negative return value (or NULL with
 * errno), and text for people through its print callback. Both end up in
 * {@link LibbpfError}, so that a user reads libbpf's own words.
 */
import koffi, { type LibraryHandle } from 'koffi';
import { UserProblem } from '../problem.ts';

/** An opaque native pointer; 0n never occurs, a NULL comes back as null. */
export type Pointer = bigint & { readonly native: unique symbol };

/** open: a probe object is read from its file. load: the kernel gets its maps and programs. */
export type LibbpfStep = 'open' | 'load';

export class LibbpfError extends Error {
  /** Positive errno. */
  readonly errno: number;
  /** The libbpf messages that came with the failure, oldest first. */
  readonly messages: readonly string[];
  /** Which step of the start failed, where callers distinguish them. */
  readonly step: LibbpfStep | undefined;

  constructor(what: string, errno: number, messages: readonly string[], step?: LibbpfStep) {
    const detail = detailOf(messages);
    super(`${what}: ${errnoText(errno)}${detail && `: ${detail}`}`);
    this.name = 'LibbpfError';
    this.errno = errno;
    this.messages = messages;
    this.step = step;
  }
}

/** The verifier names maps by their address, which must not leave the process. */
const KERNEL_ADDRESS = /\b(0x)?ff[0-9a-f]{14}\b/g;
const VERIFIER_LOG = /-- BEGIN PROG LOAD LOG --\n([\s\S]*)-- END PROG LOAD LOG --/;

/** The most informative message: why the verifier stopped, else the first that libbpf printed. */
function detailOf(messages: readonly string[]): string {
  for (const message of messages) {
    const log = VERIFIER_LOG.exec(message)?.[1].trimEnd().split('\n');
    const reason = log?.filter((line) => !line.startsWith('processed ')).at(-1);
    if (reason) return `${message.slice(0, message.indexOf(':'))}: ${reason}`;
  }
  return messages[0] ?? '';
}

const SONAMES = ['libbpf.so.1'];
const LIBBPF_WARN = 0;

function openLibrary(): LibraryHandle {
  let reason: unknown;
  for (const name of SONAMES) {
    try {
      return koffi.load(name);
    } catch (error) {
      reason = error;
    }
  }
  throw new UserProblem(
    'host.no-libbpf',
    `libbpf 1.x is not installed (${SONAMES.join(', ')})`,
    'install it, such as the Debian package libbpf1',
    { cause: reason },
  );
}

const libc = koffi.load(null);
const vsnprintf = libc.func(
  'int vsnprintf(_Out_ uint8_t *buffer, size_t size, void *format, void *arguments)',
);
const strerror = libc.func('const char *strerror(int errnum)');

/** The system's text for a positive errno. */
export function errnoText(errno: number): string {
  return String(strerror(errno));
}

/** The loaded libbpf; made on first use, so that `--help` works without it. */
export class Libbpf {
  static #instance: Libbpf | undefined;

  static get(): Libbpf {
    Libbpf.#instance ??= new Libbpf();
    return Libbpf.#instance;
  }

  readonly version: string;
  readonly #calls: ReturnType<typeof bindCalls>;
  #messages: string[] = [];

  private constructor() {
    const library = openLibrary();
    this.#calls = bindCalls(library);
    this.version = String(this.#calls.version());
    this.#capturePrints(library);
  }

  #capturePrints(library: LibraryHandle): void {
    const prototype = koffi.proto(
      'int vfioscope_libbpf_print(int level, void *format, void *arguments)',
    );
    const setPrint = library.func('libbpf_set_print', 'void *', [koffi.pointer(prototype)]);
    const text = Buffer.alloc(256 << 10);
    const print = (level: number, format: unknown, args: unknown): number => {
      if (level !== LIBBPF_WARN) return 0;
      const length = Number(vsnprintf(text, text.length, format, args));
      const message = text.toString('utf8', 0, Math.min(length, text.length - 1)).trim();
      this.#messages.push(message.replace(/^libbpf: /, '').replace(KERNEL_ADDRESS, '(address)'));
      return length;
    };
    setPrint(koffi.register(print, koffi.pointer(prototype)));
  }

  /** Runs a call that returns a negative errno on failure. @throws {LibbpfError} */
  check(
    what: string,
    call: (calls: ReturnType<typeof bindCalls>) => number,
    step?: LibbpfStep,
  ): number {
    this.#messages = [];
    const result = call(this.#calls);
    if (result < 0) throw new LibbpfError(what, -result, this.#messages, step);
    return result;
  }

  /** Runs a call that returns NULL and sets errno on failure. @throws {LibbpfError} */
  checkPointer(
    what: string,
    call: (calls: ReturnType<typeof bindCalls>) => Pointer | null,
    step?: LibbpfStep,
  ): Pointer {
    this.#messages = [];
    const result = call(this.#calls);
    if (result === null) throw new LibbpfError(what, koffi.errno(), this.#messages, step);
    return result;
  }

  /** Calls that cannot fail. */
  get calls(): ReturnType<typeof bindCalls> {
    return this.#calls;
  }
}

/** struct bpf_object_open_opts of libbpf 1.0, which later versions still take. */
interface OpenOptions {
  readonly sz: number;
  readonly object_name: null;
  readonly relaxed_maps: boolean;
  readonly pin_root_path: null;
  readonly reserved: number;
  readonly kconfig: null;
  /** BTF to read instead of the kernel's own and its modules'; null for those. */
  readonly btf_custom_path: string | null;
}

const OPEN_OPTIONS = koffi.struct('vfioscope_open_options', {
  sz: 'size_t',
  object_name: 'const char *',
  relaxed_maps: 'bool',
  pin_root_path: 'const char *',
  reserved: 'uint32_t',
  kconfig: 'const char *',
  btf_custom_path: 'const char *',
});

/** @param btf the file to relocate by; without it, what the kernel says of itself and its modules */
export function openOptions(btf: string | undefined): OpenOptions {
  return {
    sz: koffi.sizeof(OPEN_OPTIONS),
    object_name: null,
    relaxed_maps: false,
    pin_root_path: null,
    reserved: 0,
    kconfig: null,
    btf_custom_path: btf ?? null,
  };
}

/** struct bpf_map_create_opts of libbpf 1.0. */
interface MapOptions {
  readonly sz: number;
  readonly btf: readonly [number, number, number, number];
  readonly inner_map_fd: number;
  readonly map_flags: number;
  readonly map_extra: number;
  readonly numa_node: number;
  readonly map_ifindex: number;
}

const MAP_OPTIONS = koffi.struct('vfioscope_map_options', {
  sz: 'size_t',
  btf: koffi.array('uint32_t', 4),
  inner_map_fd: 'uint32_t',
  map_flags: 'uint32_t',
  map_extra: 'uint64_t',
  numa_node: 'uint32_t',
  map_ifindex: 'uint32_t',
});

/** @param flags as in include/uapi/linux/bpf.h, BPF_F_… */
export function mapOptions(flags: number): MapOptions {
  return {
    sz: koffi.sizeof(MAP_OPTIONS),
    btf: [0, 0, 0, 0],
    inner_map_fd: 0,
    map_flags: flags,
    map_extra: 0,
    numa_node: 0,
    map_ifindex: 0,
  };
}

function bindCalls(library: LibraryHandle) {
  const bind = <Args extends unknown[], Result>(prototype: string) =>
    library.func(prototype) as unknown as (...args: Args) => Result;
  return {
    version: bind<[], string>('const char *libbpf_version_string()'),
    objectOpen: bind<[string, OpenOptions], Pointer | null>(
      'void *bpf_object__open_file(const char *path, const vfioscope_open_options *options)',
    ),
    objectLoad: bind<[Pointer], number>('int bpf_object__load(void *object)'),
    objectClose: bind<[Pointer], void>('void bpf_object__close(void *object)'),
    objectBtf: bind<[Pointer], Pointer | null>('void *bpf_object__btf(void *object)'),
    btfRawData: bind<[Pointer, Uint32Array], Pointer | null>(
      'void *btf__raw_data(void *btf, _Out_ uint32_t *size)',
    ),
    findMap: bind<[Pointer, string], Pointer | null>(
      'void *bpf_object__find_map_by_name(void *object, const char *name)',
    ),
    mapFd: bind<[Pointer], number>('int bpf_map__fd(void *map)'),
    mapReuseFd: bind<[Pointer, number], number>('int bpf_map__reuse_fd(void *map, int fd)'),
    mapSetMaxEntries: bind<[Pointer, number], number>(
      'int bpf_map__set_max_entries(void *map, uint32_t max_entries)',
    ),
    mapInitialValue: bind<[Pointer, BigUint64Array], Pointer | null>(
      'void *bpf_map__initial_value(void *map, _Out_ size_t *size)',
    ),
    findProgram: bind<[Pointer, string], Pointer | null>(
      'void *bpf_object__find_program_by_name(void *object, const char *name)',
    ),
    programFd: bind<[Pointer], number>('int bpf_program__fd(void *program)'),
    attach: bind<[Pointer], Pointer | null>('void *bpf_program__attach(void *program)'),
    nextProgram: bind<[Pointer, Pointer | null], Pointer | null>(
      'void *bpf_object__next_program(void *object, void *previous)',
    ),
    programName: bind<[Pointer], string>('const char *bpf_program__name(void *program)'),
    setAutoload: bind<[Pointer, boolean], number>(
      'int bpf_program__set_autoload(void *program, bool autoload)',
    ),
    attachIter: bind<[Pointer, null], Pointer | null>(
      'void *bpf_program__attach_iter(void *program, void *options)',
    ),
    iterCreate: bind<[number], number>('int bpf_iter_create(int link_fd)'),
    attachPerfEvent: bind<[Pointer, number], Pointer | null>(
      'void *bpf_program__attach_perf_event(void *program, int fd)',
    ),
    linkFd: bind<[Pointer], number>('int bpf_link__fd(void *link)'),
    linkDestroy: bind<[Pointer], number>('int bpf_link__destroy(void *link)'),
    linkDisconnect: bind<[Pointer], void>('void bpf_link__disconnect(void *link)'),
    mapCreate: bind<[number, string, number, number, number, MapOptions], number>(
      'int bpf_map_create(int type, const char *name, uint32_t key, uint32_t value, uint32_t entries, const vfioscope_map_options *options)',
    ),
    pin: bind<[number, string], number>('int bpf_obj_pin(int fd, const char *path)'),
    pinned: bind<[string], number>('int bpf_obj_get(const char *path)'),
    programById: bind<[number], number>('int bpf_prog_get_fd_by_id(uint32_t id)'),
    objectInfo: bind<[number, Uint8Array, Uint32Array], number>(
      'int bpf_obj_get_info_by_fd(int fd, _Inout_ uint8_t *info, _Inout_ uint32_t *length)',
    ),
    enableStats: bind<[number], number>('int bpf_enable_stats(int type)'),
    possibleCpus: bind<[], number>('int libbpf_num_possible_cpus()'),
  };
}
