// SPDX-License-Identifier: Apache-2.0
/** How often what took how long, from buckets that each contain those below. */
import { type Area, LINE, placeOf, times } from './axes.ts';
import type { Drawn } from './drawn.ts';
import { COLOURS, colour, rectangle, text } from './svg.ts';
import { formatted } from './values.ts';

export function drawHeatmap({ answers, window, size }: Drawn): string {
  const buckets = answers.flat().toSorted((a, b) => limitOf(a.legend) - limitOf(b.legend));
  const left = 56;
  const area: Area = {
    left,
    top: 4,
    width: size.width - left - 4,
    height: size.height - 4 - LINE - 4,
  };
  const row = area.height / Math.max(1, buckets.length);
  const counts = buckets.map(({ points }, i) => {
    const below = new Map(buckets[i - 1]?.points);
    return points.map(([time, value]) => [time, value - (below.get(time) ?? 0)] as const);
  });
  const most = Math.max(...counts.flatMap((one) => one.map(([, count]) => count)));
  const cell = placeOf(window.from + 1, window, area) - area.left;
  let content = times(window, area);
  for (const [i, { legend }] of buckets.entries()) {
    const top = area.top + area.height - (i + 1) * row;
    const place = { size: 9, fill: COLOURS.faint, anchor: 'end' } as const;
    const name = legend === '+Inf' ? legend : formatted(Number(legend), 's');
    content += text(area.left - 6, top + row / 2 + 3, name, place);
    for (const [time, count] of counts[i]) {
      if (count <= 1e-9) continue;
      const opacity = (0.25 + 0.75 * Math.sqrt(count / most)).toFixed(2);
      const x = placeOf(time, window, area);
      const shape = { width: cell + 0.5, height: row - 1 };
      content += rectangle(x, top, shape, colour('orange'), `fill-opacity="${opacity}"`);
    }
  }
  return content;
}

/** The upper limit of a bucket, s. */
function limitOf(le: string): number {
  return le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le);
}
