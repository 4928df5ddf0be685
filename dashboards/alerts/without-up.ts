/** What becomes of alerts where Prometheus does not scrape, and has no series `up`: derived from their expressions. */
import type { Alert } from './alert.ts';
import type { Recording } from './recording.ts';

export type WithoutUp =
  /** It cannot fire. */
  | 'lost'
  /** It always fires. */
  | 'always'
  /** It fires whether the agent answers or not. */
  | 'unconditional';

/** @returns undefined for an alert that does not need it */
export function withoutUp(
  { expr }: Pick<Alert, 'expr'>,
  recordings: readonly Recording[],
): WithoutUp | undefined {
  const needed = [
    'up',
    ...recordings.filter(({ expr }) => reads(expr, 'up')).map((one) => one.record),
  ];
  if (!needed.some((series) => reads(expr, series))) return undefined;
  if (/\babsent\(up\b/.test(expr)) return 'always';
  return /\bunless on \([^)]*\) up\b/.test(expr) ? 'unconditional' : 'lost';
}

function reads(expr: string, series: string): boolean {
  return new RegExp(`(?<![\\w:"])${series}(?![\\w:"])`).test(expr);
}
