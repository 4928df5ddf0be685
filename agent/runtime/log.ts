/**
 * The agent's logger: JSON lines, or the same as text on a terminal. Writing never blocks events.
 * Where systemd's journal reads the lines, each has its priority before it, which the journal takes
 * off again: `journalctl -p warning` works, and what is kept is plain JSON.
 */
import { fstatSync } from 'node:fs';
import { destination, type Logger, pino } from 'pino';
import type { Config } from '../config/schema.ts';

export { ProbeLog } from '../../src/telemetry/probe-log.ts';

/** Text that may wait for a slow reader; past that, lines are dropped and counted. */
const MAX_BUFFERED = 4 << 20;

export interface Log {
  readonly log: Logger;
  /** Lines that were dropped because nobody read them in time. */
  dropped(): number;
  flush(): void;
}

export async function createLog(config: Config['log']): Promise<Log> {
  const output = destination({ fd: 1, sync: false, maxLength: MAX_BUFFERED });
  let dropped = 0;
  output.on('drop', () => dropped++);
  const options = {
    level: config.level,
    base: {},
    errorKey: 'error',
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
  };
  const flush = () => output.flushSync();
  if (config.format === 'json' || (config.format === 'auto' && !isTerminal(1))) {
    const lines = isJournal(process.env.JOURNAL_STREAM, 1) ? withPriority(output) : output;
    return { log: pino(options, lines), dropped: () => dropped, flush };
  }
  const { default: pretty } = await import('pino-pretty');
  const format = pretty.prettyFactory({
    colorize: isTerminal(1),
    hideObject: true,
    translateTime: 'SYS:HH:MM:ss.l',
    messageFormat: (line, key) => [line[key], ...evidenceOf(line)].join('\n    '),
  });
  const text = { write: (line: string) => output.write(format(line)) };
  return { log: pino(options, text), dropped: () => dropped, flush };
}

/** Only a device is worth asking: to load node:tty, and with it node:net, takes as long as to open a probe. */
function isTerminal(fd: number): boolean {
  return fstatSync(fd).isCharacterDevice() && process.getBuiltinModule('node:tty').isatty(fd);
}

/** Whether a descriptor leads to the journal, as systemd tells: "DEVICE:INODE". */
export function isJournal(stream: string | undefined, fd: number): boolean {
  const { dev, ino } = fstatSync(fd);
  return stream === `${dev}:${ino}`;
}

interface Lines {
  write(line: string): unknown;
}

/** Puts syslog's priority before each line, see sd-daemon(3). */
export function withPriority(lines: Lines) {
  return {
    // pino notes here of which level the line is that it writes next.
    lastLevel: 0,
    [Symbol.for('pino.metadata')]: true,
    write(line: string): void {
      const { lastLevel } = this;
      const priority = lastLevel >= 50 ? 3 : lastLevel >= 40 ? 4 : lastLevel >= 30 ? 6 : 7;
      lines.write(`<${priority}>${line}`);
    },
  };
}

function evidenceOf(line: Record<string, unknown>): string[] {
  return Array.isArray(line.evidence) ? line.evidence.map(String) : [];
}
