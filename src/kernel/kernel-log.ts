/**
 * The kernel's log, from the start of the agent on: what concerns mdev, VFIO, IOMMU, KVM and devices.
 * Other lines are dropped at once. Lines are evidence, so nothing waits for them: they are read when
 * they are wanted and once a second, a bounded number each time.
 */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { messageOf } from '../errors.ts';
import type { KernelLogLine } from '../events/host.ts';
import { plain } from '../plain.ts';
import { bootTime, seekToEnd } from './os.ts';

/** The kernel's own limit for one record: CONSOLE_EXT_LOG_MAX. */
const RECORD_BYTES = 8192;
/** How many records are read at once; a log that has more is skipped to its end. */
const MOST_RECORDS = 500;
/** How many lines are kept, and how many more of those about devices that are not tracked. */
const MOST_LINES = 256;
const MOST_UNTRACKED = 64;
/** How long a line may be. */
const MOST_CHARACTERS = 240;

const SUBJECTS = /vfio|mdev|iommu|kvm/i;
/** Bus addresses and UUIDs, as devices are named. */
const DEVICE_NAMES =
  /[\da-f]{4}:[\da-f]{2}:[\da-f]{2}\.[0-7]|[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}/gi;
/** Addresses of the kernel, also hashed ones; an offset such as +0x12/0x34 is shorter. */
const ADDRESSES = /(?<![\w-])(?:0x[\da-f]{8,}|[\da-f]{16,})(?![\w-])/gi;

/** A record of /dev/kmsg: Documentation/ABI/testing/dev-kmsg. */
export interface KernelRecord {
  /** 0 for the kernel itself; processes may write to the log as well. */
  readonly facility: number;
  readonly sequence: number;
  /** µs on the kernel's own clock. */
  readonly time: number;
  readonly text: string;
  /** The name of the device that it is about, if the kernel says so. */
  readonly device: string | undefined;
}

export function parseRecord(record: string): KernelRecord | undefined {
  const [, priority, sequence, time, rest] = /^(\d+),(\d+),(\d+),[^;]*;(.*)$/s.exec(record) ?? [];
  if (rest === undefined) return undefined;
  const [text = '', ...tags] = rest.split('\n');
  const device = tags.map((tag) => /^ DEVICE=\+\w+:(.+)$/.exec(tag)?.[1]).find((name) => name);
  return {
    facility: Number(priority) >> 3,
    sequence: Number(sequence),
    time: Number(time),
    text,
    device,
  };
}

/**
 * Whether a line may become evidence. One about a device that is not tracked may: the kernel logs why it
 * refused a device before the agent has processed the call, and the device is gone when it has.
 * @param isTracked whether a device or parent of that name exists
 */
export function interestOf(
  { facility, text, device }: KernelRecord,
  isTracked: (name: string) => boolean,
): 'kept' | 'untracked' | 'dropped' {
  if (facility !== 0) return 'dropped';
  if (SUBJECTS.test(text)) return 'kept';
  const names = namesIn(text, device);
  if (names.some(isTracked)) return 'kept';
  return names.length > 0 ? 'untracked' : 'dropped';
}

function namesIn(text: string, device: string | undefined): string[] {
  const inText = (text.match(DEVICE_NAMES) ?? []).map((name) => name.toLowerCase());
  return [...inText, ...(device === undefined ? [] : [device])];
}

/** The text without addresses and without what could steer a terminal, and not too long. */
export function shownText(text: string): string {
  const shown = plain(text).replace(ADDRESSES, '(address)');
  return shown.length > MOST_CHARACTERS ? `${shown.slice(0, MOST_CHARACTERS)}…` : shown;
}

/** What the log is read from; a test has its own. */
export interface RecordSource {
  /** The next record, undefined when there is none, 'gap' when records were overwritten before. */
  next(): string | 'gap' | undefined;
  skipToEnd(): void;
}

export class KernelLog {
  readonly #source: RecordSource;
  readonly #isTracked: (name: string) => boolean;
  #lines: KernelLogLine[] = [];
  /** Apart, because a device that nobody assigns may fill the log. */
  #untracked: KernelLogLine[] = [];
  #readAt: number;
  #sequence = -1;
  /** Records that were not read, because the kernel logged them too fast. */
  skipped = 0;

  constructor(source: RecordSource, isTracked: (name: string) => boolean, now = bootTime()) {
    this.#source = source;
    this.#isTracked = isTracked;
    this.#readAt = now;
  }

  /** Those that were kept, including the latest, in no certain order. */
  lines(now = bootTime()): readonly KernelLogLine[] {
    this.read(now);
    return [...this.#untracked, ...this.#lines];
  }

  read(now = bootTime()): void {
    const after = this.#readAt;
    this.#readAt = now;
    for (let count = 0; ; count++) {
      if (count === MOST_RECORDS) {
        this.#source.skipToEnd();
        break;
      }
      const record = this.#source.next();
      if (record === undefined) break;
      if (record !== 'gap') this.#take(record, after, now);
    }
    if (this.#lines.length > MOST_LINES) this.#lines = this.#lines.slice(-MOST_LINES);
    if (this.#untracked.length > MOST_UNTRACKED)
      this.#untracked = this.#untracked.slice(-MOST_UNTRACKED);
  }

  #take(text: string, after: number, before: number): void {
    const record = parseRecord(text);
    if (!record) return;
    if (this.#sequence >= 0) this.skipped += Math.max(0, record.sequence - this.#sequence - 1);
    this.#sequence = record.sequence;
    const interest = interestOf(record, this.#isTracked);
    if (interest === 'dropped') return;
    const names = namesIn(record.text, record.device);
    const line = { time: (record.time / 1e6).toFixed(6), text: shownText(record.text), names };
    (interest === 'kept' ? this.#lines : this.#untracked).push({ ...line, after, before });
  }
}

export interface OpenKernelLog {
  readonly log: KernelLog;
  close(): void;
}

/** /dev/kmsg from now on. @returns why it must not be read, in words */
export function openKernelLog(
  isTracked: (name: string) => boolean,
  path = '/dev/kmsg',
): OpenKernelLog | string {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    seekToEnd(fd);
    const buffer = Buffer.alloc(RECORD_BYTES);
    const source: RecordSource = {
      next: () => nextRecord(fd, buffer),
      skipToEnd: () => seekToEnd(fd),
    };
    return { log: new KernelLog(source, isTracked), close: () => closeSync(fd) };
  } catch (error) {
    return messageOf(error);
  }
}

function nextRecord(fd: number, buffer: Buffer): string | 'gap' | undefined {
  try {
    const length = readSync(fd, buffer, 0, buffer.length, null);
    return length > 0 ? buffer.toString('utf8', 0, length) : undefined;
  } catch (error) {
    // EPIPE: the next record was overwritten before it was read.
    return (error as NodeJS.ErrnoException).code === 'EPIPE' ? 'gap' : undefined;
  }
}
