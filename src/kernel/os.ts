/** The libc calls that the agent needs and Node does not offer. */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import koffi from 'koffi';
import { SECOND } from '../units.ts';
import { errnoText } from './libbpf.ts';

const libc = koffi.load(null);

/** The head of struct perf_event_attr, include/uapi/linux/perf_event.h: PERF_ATTR_SIZE_VER1. */
const PERF_EVENT_ATTR_SIZE = 72;
koffi.struct('perf_event_attr', {
  type: 'uint32_t',
  size: 'uint32_t',
  config: 'uint64_t',
  sample_period: 'uint64_t',
  sample_type: 'uint64_t',
  read_format: 'uint64_t',
  flags: 'uint64_t',
  wakeup_events: 'uint32_t',
  bp_type: 'uint32_t',
  kprobe_func: 'const char *',
  probe_offset: 'uint64_t',
});

/** As Node names it, which for the first that it is asked takes as long as to open a probe. */
function nameOf(errno: number): string {
  const names = Object.entries(constants.errno);
  return names.find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`;
}

const c = {
  mmap: libc.func(
    'void *mmap(void *address, size_t length, int prot, int flags, int fd, int64_t offset)',
  ),
  munmap: libc.func('int munmap(void *address, size_t length)'),
  getpagesize: libc.func('int getpagesize()'),
  clockGettime: libc.func('int clock_gettime(int clock, _Out_ int64_t *time)'),
  epollCreate: libc.func('int epoll_create1(int flags)'),
  epollCtl: libc.func('int epoll_ctl(int epoll, int operation, int fd, const uint32_t *event)'),
  epollWait: libc.func('int epoll_wait(int epoll, uint8_t *events, int count, int timeout_ms)'),
  eventfd: libc.func('int eventfd(unsigned int initial, int flags)'),
  write: libc.func('int64_t write(int fd, const uint64_t *data, size_t length)'),
  close: libc.func('int close(int fd)'),
  getrandom: libc.func(
    'int64_t getrandom(_Out_ uint8_t *bytes, size_t length, unsigned int flags)',
  ),
  exit: libc.func('void _exit(int status)'),
  fcntl: libc.func('int fcntl(int fd, int command, int argument)'),
  lseek: libc.func('int64_t lseek(int fd, int64_t offset, int whence)'),
  flock: libc.func('int flock(int fd, int operation)'),
  openByHandle: libc.func('int open_by_handle_at(int mount, const uint8_t *handle, int flags)'),
  perfEventOpen: libc.func(
    'long syscall(long number, const perf_event_attr *attr, int pid, int cpu, int group, unsigned long flags)',
  ),
};

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;
const CLOEXEC = 0o2000000;
const CLOCK_REALTIME = 0;
const CLOCK_BOOTTIME = 7;

/** A refusal of the kernel, with its errno's name as Node's own errors have it. */
export class SystemError extends Error {
  readonly code: string;

  constructor(what: string, errno: number) {
    super(`${what}: ${errnoText(errno)}`);
    this.code = nameOf(errno);
  }
}

function check(what: string, result: number): number {
  if (result < 0) throw new SystemError(what, koffi.errno());
  return result;
}

/** Bytes of a memory page. */
export const PAGE_SIZE: number = c.getpagesize();

/** A mapping of a file or BPF map; its bytes are the kernel's own memory, not a copy. */
export class Mapping {
  readonly buffer: ArrayBuffer;
  readonly #address: bigint;

  /** @param offset bytes, a multiple of the page size @throws when the kernel refuses */
  constructor(what: string, fd: number, offset: number, length: number, writable: boolean) {
    const protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    const address: bigint | null = c.mmap(null, length, protection, MAP_SHARED, fd, offset);
    if (address === null || BigInt.asIntN(64, address) === -1n) {
      throw new Error(`cannot map ${what}: ${errnoText(koffi.errno())}`);
    }
    this.#address = address;
    this.buffer = koffi.view(address, length);
  }

  /** The buffer has no bytes afterwards, so that whoever reads it finds nothing instead of crashing. */
  unmap(): void {
    const { byteLength } = this.buffer.transfer();
    c.munmap(this.#address, byteLength);
  }
}

const SEEK_END = 2;

/** What is read from the file from now on begins behind its last byte. */
export function seekToEnd(fd: number): void {
  check('lseek', Number(c.lseek(fd, 0, SEEK_END)));
}

const LOCK_EX = 2;
const LOCK_NB = 4;

/** Until the descriptor is closed, which the end of the process does too. @returns false when another has it */
export function lock(fd: number): boolean {
  if (c.flock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  const error = new SystemError('flock', koffi.errno());
  if (error.code === 'EAGAIN') return false;
  throw error;
}

/** include/linux/exportfs.h: a file of kernfs by its id, since Linux 5.5. */
const FILEID_KERNFS = 0xfe;
const O_PATH = 0o10000000;
/** Node has no name for it. */
const ESTALE = 116;

/**
 * A directory of a file system such as cgroup's by its id, as events carry it.
 * @param mount any open directory of that file system
 * @returns undefined when it is gone
 * @throws {SystemError} with code EPERM without CAP_DAC_READ_SEARCH
 */
export function openKernfs(mount: number, id: number): number | undefined {
  const handle = Buffer.alloc(16);
  handle.writeUInt32LE(8, 0);
  handle.writeInt32LE(FILEID_KERNFS, 4);
  handle.writeBigUInt64LE(BigInt(id), 8);
  const fd = c.openByHandle(mount, handle, O_PATH | CLOEXEC);
  if (fd >= 0) return fd;
  const errno = koffi.errno();
  if (errno === ESTALE) return undefined;
  throw new SystemError('open_by_handle_at', errno);
}

/** Unpredictable bytes, by the kernel: to load node:crypto takes as long as to open three probes. */
export function randomBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  // Up to 256 it gives all or, before it has enough randomness, waits.
  check('getrandom', Number(c.getrandom(bytes, length, 0)));
  return bytes;
}

const never = new Int32Array(new SharedArrayBuffer(4));

/** Blocks the thread, so only for milliseconds. */
export function pause(milliseconds: number): void {
  Atomics.wait(never, 0, 0, milliseconds);
}

/** Ends the process without waiting for its threads: one that is blocked in a system call never ends. */
export function exitAtOnce(status: number): void {
  c.exit(status);
}

const F_DUPFD_CLOEXEC = 1030;

/** Another descriptor of the same file, which is closed on its own. @throws {SystemError} */
export function duplicate(fd: number): number {
  return check('fcntl', c.fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

export function closeFd(fd: number): void {
  c.close(fd);
}

const timespec = new BigInt64Array(2);

function readClock(clock: number): number {
  check('clock_gettime', c.clockGettime(clock, timespec));
  return Number(timespec[0]) * SECOND + Number(timespec[1]);
}

/** ns since boot, suspend included: the clock of every event. Exact for 104 days of uptime. */
export function bootTime(): number {
  return readClock(CLOCK_BOOTTIME);
}

/** ns to add to {@link bootTime} for ns since 1970, to within a few hundred ns. */
export function wallOffset(): number {
  const before = bootTime();
  const wall = readClock(CLOCK_REALTIME);
  return wall - (before + bootTime()) / 2;
}

/** A name for this boot of the kernel, which no other has. */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return 'unknown';
  }
}

/** Sleeps outside the JavaScript thread until a file is readable. */
export class Waiter {
  readonly #epoll = check('epoll_create1', c.epollCreate(CLOEXEC));
  readonly #wake = check('eventfd', c.eventfd(0, CLOEXEC));
  readonly #events = Buffer.alloc(32);

  constructor(fd: number) {
    this.#add(fd);
    this.#add(this.#wake);
  }

  #add(fd: number): void {
    // struct epoll_event is packed on x86-64 only; with data left 0 both layouts read the same.
    check(
      'epoll_ctl',
      c.epollCtl(this.#epoll, EPOLL_CTL_ADD, fd, new Uint32Array([EPOLLIN, 0, 0, 0])),
    );
  }

  /** Resolves when the file is readable, after `timeoutMs`, or when {@link wake} is called. */
  wait(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      c.epollWait.async(this.#epoll, this.#events, 2, timeoutMs, (error: Error | null) =>
        error ? reject(error) : resolve(),
      );
    });
  }

  /** Ends the current and every later wait. */
  wake(): void {
    c.write(this.#wake, new BigUint64Array([1n]), 8);
  }

  /** Only when no wait is pending. */
  close(): void {
    closeFd(this.#epoll);
    closeFd(this.#wake);
  }
}

const SYSCALL_PERF_EVENT_OPEN: Readonly<Record<string, number>> = {
  x64: 298,
  arm64: 241,
};
const KPROBE_SOURCE = '/sys/bus/event_source/devices/kprobe';
const PERF_TYPE_TRACEPOINT = 2;
const PERF_FLAG_FD_CLOEXEC = 8;

let kprobeSource: ReturnType<typeof readKprobeSource> | undefined;

/** How this kernel wants to be asked for a perf event on a function; the same until the next boot. */
function readKprobeSource(): { readonly type: number; readonly atReturn: number } {
  const [, bit = '0'] =
    /config:(\d+)/.exec(readFileSync(`${KPROBE_SOURCE}/format/retprobe`, 'utf8')) ?? [];
  return {
    type: Number(readFileSync(`${KPROBE_SOURCE}/type`, 'utf8')),
    atReturn: 2 ** Number(bit),
  };
}

/** A perf event on a tracefs event, for all tasks: what a BPF program attaches to. */
export function openTracepoint(id: number): number {
  return openPerfEvent({ type: PERF_TYPE_TRACEPOINT, config: id });
}

/**
 * A perf event on a kernel function.
 * @param target the function: its name, or where it is as 0x…
 * @throws {SystemError} with code ENOENT when there is no such function
 */
export function openKprobe(target: string, atReturn: boolean): number {
  kprobeSource ??= readKprobeSource();
  const { type, atReturn: config } = kprobeSource;
  const site = target.startsWith('0x') ? { address: BigInt(target) } : { function: target };
  return openPerfEvent({ type, config: atReturn ? config : 0, ...site });
}

interface PerfEvent {
  readonly type: number;
  readonly config: number;
  readonly function?: string;
  /** Instead of a function's name. */
  readonly address?: bigint;
}

function openPerfEvent(event: PerfEvent): number {
  const number = SYSCALL_PERF_EVENT_OPEN[process.arch];
  if (number === undefined) throw new Error(`perf_event_open is unknown on ${process.arch}`);
  const isTracepoint = event.type === PERF_TYPE_TRACEPOINT;
  const attr = {
    type: event.type,
    size: PERF_EVENT_ATTR_SIZE,
    config: event.config,
    sample_period: isTracepoint ? 1 : 0,
    sample_type: 0,
    read_format: 0,
    flags: 0,
    wakeup_events: isTracepoint ? 1 : 0,
    bp_type: 0,
    kprobe_func: event.function ?? null,
    probe_offset: event.address ?? 0,
  };
  return check(
    'perf_event_open',
    Number(c.perfEventOpen(number, attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)),
  );
}
