/**
 * How severe a log line or record is, for each of those who ask: pino, the journal and OpenTelemetry. The table
 * in docs/logs.md is generated from this one.
 */
import type { Severity } from '../engine/severity.ts';

export type Level = 'debug' | 'info' | 'warn' | 'error' | 'fatal';

export interface LevelNumbers {
  /** The field `level` of a JSON line, as pino numbers it. */
  readonly number: number;
  /** Of syslog and the journal, see syslog(3). */
  readonly priority: number;
  /** `SeverityNumber` of OpenTelemetry. */
  readonly severityNumber: number;
  /** `SeverityText` of OpenTelemetry: the word that vfioscope has for it. */
  readonly severityText: string;
}

/** From the least severe to the most severe. */
export const LEVELS: Readonly<Record<Level, LevelNumbers>> = {
  debug: { number: 20, priority: 7, severityNumber: 5, severityText: 'debug' },
  info: { number: 30, priority: 6, severityNumber: 9, severityText: 'info' },
  warn: { number: 40, priority: 4, severityNumber: 13, severityText: 'warning' },
  error: { number: 50, priority: 3, severityNumber: 17, severityText: 'error' },
  fatal: { number: 60, priority: 2, severityNumber: 21, severityText: 'critical' },
};

const OF_VIOLATIONS: Readonly<Record<Severity, Level>> = {
  info: 'info',
  warning: 'warn',
  error: 'error',
  critical: 'fatal',
};

/** The level of what is logged of a violation. @param isResolved whether that is its end, which is good news */
export function levelOf(severity: Severity, isResolved = false): Level {
  return isResolved ? 'info' : OF_VIOLATIONS[severity];
}

/** The priority of a line for the journal. @param number the field `level` of the line */
export function priorityOf(number: number): number {
  const levels = Object.values(LEVELS);
  return (levels.findLast((one) => one.number <= number) ?? LEVELS.debug).priority;
}
