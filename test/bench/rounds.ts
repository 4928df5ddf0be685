// SPDX-License-Identifier: Apache-2.0
/** Repeated measurements of a thing and its peer, and how they are shown. */

/** Times of one round, ns per record. */
export interface Round {
  readonly ours: number;
  readonly peer: number;
}

/** Median with the range that it comes from, as in "1.79 (1.75–1.84)". */
export function spread(values: readonly number[], digits: number): string {
  const sorted = values.toSorted((a, b) => a - b);
  const [least, most] = [sorted[0], sorted[sorted.length - 1]];
  const range = `${least.toFixed(digits)}–${most.toFixed(digits)}`;
  return `${median(sorted).toFixed(digits)} (${range})`;
}

/** The middle one, or the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The ratio is taken round by round, so that a slow spell of the machine hits both sides. */
export function ratio(rounds: readonly Round[]): string {
  const values = rounds.map(({ ours, peer }) => ours / peer);
  return spread(values, 2).replace(' ', '× ');
}

/** Prints rows in columns; the first row is the heading. */
export function table(rows: readonly (readonly string[])[]): void {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  for (const row of rows) {
    console.log(`  ${row.map((cell, i) => cell.padEnd(widths[i])).join('   ')}`.trimEnd());
  }
}
