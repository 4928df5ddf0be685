/**
 * libbpf and the few libc calls around it, bound through koffi.
 *
 * libbpf reports failures in two ways: a negative return value (or NULL with
 * errno), and text for people through its print callback. Both end up in
 * {@link LibbpfError}, so that a user reads libbpf's own words.
 */
import koffi, { type LibraryHandle } from 'koffi';

/** An opaque native pointer; 0n never occurs, a NULL comes back as null. */
export type Pointer = bigint & { readonly native: unique symbol };

export class LibbpfError extends Error {
  /** Positive errno. */
  readonly errno: number;
  /** The libbpf messages that came with the failure, oldest first. */
  readonly messages: readonly string[];

  constructor(what: string, errno: number, messages: readonly string[]) {
    const detail = detailOf(messages);
    super(`${what}: ${errnoText(errno)}${detail && `: ${detail}`}`);
    this.name = 'LibbpfError';
    this.errno = errno;
    this.messages = messages;
  }

  /** What was asked for does not exist. */
  get isMissing(): boolean {
    return this.errno === ENOENT;
  }
}

/** The verifier names maps by their address, which must not leave the process. */
const KERNEL_ADDRESS = /\b(0x)?ff[0-9a-f]{14}\b/g;
const ENOENT = 2;
const VERIFIER_LOG = /-- BEGIN PROG LOAD LOG --\n([\s\S]*)-- END PROG LOAD LOG --/;

/** The most telling message: why the verifier stopped, else the first that libbpf printed. */
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
  throw new Error(
    `libbpf 1.x is not installed (${SONAMES.join(', ')}): install the Debian package libbpf1`,
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
  check(what: string, call: (calls: ReturnType<typeof bindCalls>) => number): number {
    this.#messages = [];
    const result = call(this.#calls);
    if (result < 0) throw new LibbpfError(what, -result, this.#messages);
    return result;
  }

  /** Runs a call that returns NULL and sets errno on failure. @throws {LibbpfError} */
  checkPointer(
    what: string,
    call: (calls: ReturnType<typeof bindCalls>) => Pointer | null,
  ): Pointer {
    this.#messages = [];
    const result = call(this.#calls);
    if (result === null) throw new LibbpfError(what, koffi.errno(), this.#messages);
    return result;
  }

  /** Calls that cannot fail. */
  get calls(): ReturnType<typeof bindCalls> {
    return this.#calls;
  }
}

function bindCalls(library: LibraryHandle) {
  const bind = <Args extends unknown[], Result>(prototype: string) =>
    library.func(prototype) as unknown as (...args: Args) => Result;
  return {
    version: bind<[], string>('const char *libbpf_version_string()'),
    objectOpen: bind<[string, null], Pointer | null>(
      'void *bpf_object__open_file(const char *path, void *options)',
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
    attachKprobe: bind<[Pointer, boolean, string], Pointer | null>(
      'void *bpf_program__attach_kprobe(void *program, bool retprobe, const char *symbol)',
    ),
    attachPerfEvent: bind<[Pointer, number], Pointer | null>(
      'void *bpf_program__attach_perf_event(void *program, int fd)',
    ),
    linkFd: bind<[Pointer], number>('int bpf_link__fd(void *link)'),
    linkDestroy: bind<[Pointer], number>('int bpf_link__destroy(void *link)'),
    objectInfo: bind<[number, Uint8Array, Uint32Array], number>(
      'int bpf_obj_get_info_by_fd(int fd, _Inout_ uint8_t *info, _Inout_ uint32_t *length)',
    ),
    possibleCpus: bind<[], number>('int libbpf_num_possible_cpus()'),
  };
}
