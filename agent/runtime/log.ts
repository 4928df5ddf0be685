/** The agent's logger: JSON lines, or the same as text on a terminal. Writing never blocks events. */
import { isatty } from 'node:tty';
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
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
  };
  const flush = () => output.flushSync();
  if (config.format === 'json' || (config.format === 'auto' && !isatty(1))) {
    return { log: pino(options, output), dropped: () => dropped, flush };
  }
  const { default: pretty } = await import('pino-pretty');
  const format = pretty.prettyFactory({
    colorize: isatty(1),
    hideObject: true,
    translateTime: 'SYS:HH:MM:ss.l',
    messageFormat: (line, key) => [line[key], ...evidenceOf(line)].join('\n    '),
  });
  const text = { write: (line: string) => output.write(format(line)) };
  return { log: pino(options, text), dropped: () => dropped, flush };
}

function evidenceOf(line: Record<string, unknown>): string[] {
  return Array.isArray(line.evidence) ? line.evidence.map(String) : [];
}
