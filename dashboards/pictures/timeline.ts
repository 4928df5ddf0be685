// SPDX-License-Identifier: Apache-2.0
/** One row for each series, with a bar for as long as it had the same value. */
import type { ValueMapping } from '@grafana/grafana-foundation-sdk/dashboard';
import { type Area, LINE, legendOf, placeOf, runsOf, SMALL, times } from './axes.ts';
import type { Drawn, Points } from './drawn.ts';
import { COLOURS, colour, fitting, part, rectangle, text, widthOf } from './svg.ts';
import { shown } from './values.ts';

/** px of a row. */
const ROW = 22;

export function drawTimeline({ panel, answers, window, size }: Drawn): string {
  const { mappings = [] } = panel.fieldConfig?.defaults ?? {};
  const words = wordsOf(mappings);
  const legend = legendOf(words, size.width);
  const all = answers.flat();
  const room = Math.floor((size.height - LINE - legend.lines * LINE - 8) / ROW);
  const rows = all.slice(0, room);
  const left = 12 + Math.min(300, Math.max(0, ...rows.map(({ legend }) => widthOf(legend, SMALL))));
  const area: Area = { left, top: 4, width: size.width - left - 4, height: rows.length * ROW };
  let content = times(window, area);
  for (const [i, { legend: name, points }] of rows.entries()) {
    const top = area.top + i * ROW;
    const label = { size: SMALL, fill: COLOURS.text };
    content += text(0, top + 15, fitting(name, left - 12, SMALL), label);
    for (const [from, to, value] of barsOf(points)) {
      const x = placeOf(from, window, area);
      const width = Math.max(2, placeOf(to, window, area) - x);
      const { text: word, colour: fill = COLOURS.faint } = shown(value, { mappings });
      content += rectangle(x, top + 2, { width, height: ROW - 4 }, fill, 'fill-opacity="0.8"');
      if (widthOf(word, SMALL) + 8 > width) continue;
      content += text(x + 4, top + 15, word, { size: SMALL, fill: '#111217' });
    }
  }
  if (all.length > rows.length) {
    const more = { size: SMALL, fill: COLOURS.faint, anchor: 'end' } as const;
    const rest = `${all.length - rows.length} more on further pages`;
    content += text(size.width - 4, size.height - 4, rest, more);
  }
  const bottom = size.height - legend.lines * LINE;
  return (
    content + part(0, bottom, { width: size.width, height: legend.lines * LINE }, legend.content)
  );
}

/** The words of a value mapping, in their order. */
function wordsOf(mappings: readonly ValueMapping[]): (readonly [string, string])[] {
  const [first] = mappings;
  if (first?.type !== 'value') return [];
  return Object.values(first.options)
    .toSorted((a, b) => (a.index ?? 0) - (b.index ?? 0))
    .map(({ text: word = '', color = '' }) => [word, colour(color)] as const);
}

/** From when to when a series had which value. */
function barsOf(points: Points): [from: number, to: number, value: number][] {
  const bars: [number, number, number][] = [];
  for (const run of runsOf(points)) {
    for (const [i, [time, value]] of run.entries()) {
      const bar = bars.at(-1);
      if (i > 0 && bar && bar[2] === value) bar[1] = time + 1;
      else bars.push([time, time + 1, value]);
    }
  }
  return bars;
}
