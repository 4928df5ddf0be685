/**
 * The agent's logger: JSON lines, or the same as text on a terminal. Writing never blocks events, and a log
 * that cannot be written costs its lines and nothing else. For systemd's journal, each line has its priority as a prefix, which the journal removes: `journalctl -p
 * warning` works, and the journal keeps plain JSON.
 */
import { fstatSync } from 'node:fs';
import { type Logger, pino } from 'pino';
import { LEVELS, priorityOf } from '../../src/telemetry/severity.ts';
import type { Config } from '../config/schema.ts';
import { LogOutput } from './log-output.ts';

export { ProbeLog } from '../../src/telemetry/probe-log.ts';

export interface Log {
  readonly log: Logger;
  /** Lines that were dropped because they could not be written, or were not read in time. */
  dropped(): number;
  /** Waits until all lines are written or dropped. @returns false when some are not after that time */
  flush(limitMs: number): Promise<boolean>;
}

export async function createLog(config: Config['log']): Promise<Log> {
  const output = new LogOutput(1);
  const dropped = () => output.dropped;
  const flush = (limitMs: number) => output.flush(limitMs);
  const options = {
    level: config.level,
    base: {},
    errorKey: 'error',
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
  };
  if (config.format === 'json' || (config.format === 'auto' && !isTerminal(1))) {
    const isForJournal = isJournal(process.env.JOURNAL_STREAM, 1);
    return {
      log: pino(options, new Lines(output, isForJournal ? withPriority : same)),
      dropped,
      flush,
    };
  }
  const [{ default: pretty }, { inColumns }] = await Promise.all([
    import('pino-pretty'),
    import('../../src/telemetry/columns.ts'),
  ]);
  const format = pretty.prettyFactory({
    colorize: isTerminal(1) && process.stdout.hasColors(),
    hideObject: true,
    translateTime: 'SYS:HH:MM:ss.l',
    messageFormat: (line, key) =>
      [inColumns(String(line[key])), ...evidenceOf(line)].join('\n    '),
  });
  return { log: pino(options, new Lines(output, format)), dropped, flush };
}

/** Asks only for a character device: loading node:tty, and with it node:net, takes as long as opening a probe. */
function isTerminal(fd: number): boolean {
  return fstatSync(fd).isCharacterDevice() && process.getBuiltinModule('node:tty').isatty(fd);
}

/** Whether a descriptor is the journal's. @param stream JOURNAL_STREAM as systemd sets it: "DEVICE:INODE" */
export function isJournal(stream: string | undefined, fd: number): boolean {
  const { dev, ino } = fstatSync(fd);
  return stream === `${dev}:${ino}`;
}

/** Asks pino to set what is said of a line. */
const METADATA: unique symbol = Symbol.for('pino.metadata');

/** Where pino writes lines, each as it is shown; on its way it says what the line is. */
export class Lines {
  readonly [METADATA] = true;
  /** pino sets this and the next to the level and the fields of the line that it writes next. */
  lastLevel = 0;
  lastObj: { readonly event?: string } | null = null;
  readonly #output: Pick<LogOutput, 'write'>;
  readonly #shown: (line: string, level: number) => string;

  constructor(output: Pick<LogOutput, 'write'>, shown: (line: string, level: number) => string) {
    this.#output = output;
    this.#shown = shown;
  }

  write(line: string): void {
    const isViolation = this.lastObj?.event?.startsWith('violation.') === true;
    this.#output.write(
      this.#shown(line, this.lastLevel),
      isViolation || this.lastLevel >= LEVELS.warn.number,
    );
  }
}

/** A line with its syslog priority before it, see sd-daemon(3). */
export function withPriority(line: string, level: number): string {
  return `<${priorityOf(level)}>${line}`;
}

function same(line: string): string {
  return line;
}

function evidenceOf(line: Record<string, unknown>): string[] {
  return Array.isArray(line.evidence) ? line.evidence.map(String) : [];
}
