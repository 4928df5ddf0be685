// SPDX-License-Identifier: Apache-2.0

const MICROSECONDS = 1_000_000;
/** Lines of an ordinary log, and of a fault with its registers and call trace. */
const TAIL = 15;
const TRACE = 60;

// Messages about faults of the kernel itself, as opposed to "error" in a driver's ordinary line.
const PROBLEM = new RegExp(
  [
    'WARNING: (CPU|at|bad|possible|suspicious)',
    'BUG:',
    'kernel BUG at',
    'Oops',
    'Kernel panic',
    'general protection fault',
    'Unable to handle',
    'KASAN:',
    'UBSAN:',
    'refcount_t:',
    'corruption',
    'inconsistent lock state',
    'soft lockup',
    'self-detected stall',
    'detected stalls',
    'blocked for more than',
  ].join('|'),
);

/** The line that dmesg prints for a record of /dev/kmsg. */
export function kmsgLine(record: string): string {
  const [, , time = '0'] = record.split(',', 3);
  // Behind the first line come SUBSYSTEM= and DEVICE=, which dmesg does not show.
  const text = record.slice(record.indexOf(';') + 1).split('\n', 1)[0] ?? '';
  const seconds = (Number(time) / MICROSECONDS).toFixed(6).padStart(12);
  return `[${seconds}] ${unescaped(text)}`;
}

function unescaped(text: string): string {
  return text.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

/** The lines that report a fault of the kernel: warnings, oopses, lock-ups, corruption. */
export function kernelProblems(lines: readonly string[]): string[] {
  return lines.filter((line) => PROBLEM.test(line));
}

/** The part of a log that explains the end of a VM: from the first fault on, or its last lines. */
export function lastWords(lines: readonly string[]): string[] {
  const fault = lines.findIndex((line) => PROBLEM.test(line));
  return fault < 0 ? lines.slice(-TAIL) : lines.slice(fault, fault + TRACE);
}

/** The kernel's log, put together from what the runner reads and what the serial console shows. */
export class KernelLog {
  readonly #lines: string[] = [];
  readonly #onLine: (line: string) => void;
  #console = '';

  constructor(onLine: (line: string) => void = () => {}) {
    this.#onLine = onLine;
  }

  addRecord(record: string): void {
    const line = kmsgLine(record);
    this.#lines.push(line);
    this.#onLine(line);
  }

  addConsole(text: string): void {
    this.#console += text.replaceAll('\r', '');
  }

  /** All lines; the console's only where the runner could not report them any more, as in a panic. */
  lines(): string[] {
    const known = new Set(this.#lines);
    const onlyOnConsole = this.#console
      .split('\n')
      .filter((line) => line !== '' && !known.has(line));
    return [...this.#lines, ...onlyOnConsole];
  }
}
