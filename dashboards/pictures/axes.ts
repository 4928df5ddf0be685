// SPDX-License-Identifier: Apache-2.0
/** What graphs, timelines and heatmaps share: the time below them, and their legends. */
import type { Window } from './answers.ts';
import type { Points } from './drawn.ts';
import { COLOURS, FONT, line, rectangle, type Size, text, widthOf } from './svg.ts';

/** px that the times below a graph take, and a line of a legend. */
export const LINE = 18;
/** s between two times. */
const TICKS = 30;
/** px of the text at an axis. */
export const SMALL = 11;
/** Half the px that a time takes. */
const HALF_CLOCK = 27;
/** Of a legend; Grafana scrolls. */
const MOST_LINES = 3;

/** Where a graph is drawn in its panel. */
export interface Area extends Size {
  readonly left: number;
  readonly top: number;
}

export interface Legend {
  readonly content: string;
  readonly lines: number;
}

/** The place of a time on the x axis. */
export function placeOf(time: number, { from, to }: Window, { left, width }: Area): number {
  return left + ((time - from) / (to - from)) * width;
}

export function times(window: Window, area: Area): string {
  let content = '';
  for (let at = Math.ceil(window.from / TICKS) * TICKS; at <= window.to; at += TICKS) {
    const x = placeOf(at, window, area);
    const bottom = area.top + area.height;
    content += line(
      [
        [x, area.top],
        [x, bottom],
      ],
      `stroke="${COLOURS.grid}"`,
    );
    // A time that would be cut off is left out.
    if (x < HALF_CLOCK || x + HALF_CLOCK > area.left + area.width + 4) continue;
    const clock = new Date(at * 1000).toISOString().slice(11, 19);
    content += text(x, bottom + 14, clock, { size: SMALL, fill: COLOURS.faint, anchor: 'middle' });
  }
  return content;
}

/** Names with their colours, in a few lines. */
export function legendOf(
  entries: readonly (readonly [name: string, colour: string])[],
  width: number,
): Legend {
  let content = '';
  let [x, lines] = [0, 1];
  for (const [i, [name, fill]] of entries.entries()) {
    const needed = 22 + widthOf(name, FONT) + 8;
    const isLast = lines === MOST_LINES && x + needed > width - 70 && i < entries.length - 1;
    if (isLast) {
      const rest = `${entries.length - i} more`;
      content += text(x, (lines - 1) * LINE + 13, rest, { fill: COLOURS.faint });
      break;
    }
    if (x > 0 && x + needed > width) {
      x = 0;
      lines++;
    }
    const y = (lines - 1) * LINE;
    content += rectangle(x, y + 7, { width: 14, height: 4 }, fill, 'rx="2"');
    content += text(x + 20, y + 13, name, { fill: COLOURS.text });
    x += needed;
  }
  return { content, lines };
}

/**
 * Round numbers from 0 on, about as many as asked for, of which the last is not below `most`.
 * @param isBinary round as multiples of KiB, MiB …
 */
export function ticks(most: number, count: number, isBinary = false): number[] {
  if (most <= 0) return [0, 1];
  const factor = isBinary ? 1024 ** Math.floor(Math.log2(most) / 10) : 1;
  const rough = most / factor / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough) ?? rough;
  const steps = Math.ceil(most / factor / step - 1e-9);
  return Array.from({ length: steps + 1 }, (_, i) => i * step * factor);
}

/** Points without a gap between them: the database is asked for one each second. */
export function runsOf(points: Points): Points[] {
  const runs: [number, number][][] = [];
  for (const [time, value] of points) {
    const last = runs.at(-1)?.at(-1)?.[0];
    if (last === undefined || time - last > 1.5) runs.push([]);
    runs.at(-1)?.push([time, value]);
  }
  return runs;
}
