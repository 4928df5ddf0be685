// SPDX-License-Identifier: Apache-2.0
/** Numbers over time, one on the other if the panel is stacked. */
import type { Threshold } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Answered } from './answers.ts';
import { type Area, LINE, legendOf, placeOf, runsOf, SMALL, ticks, times } from './axes.ts';
import type { Drawn, Points } from './drawn.ts';
import { optionsOf } from './overrides.ts';
import { COLOURS, colour, coloursOf, line, part, text, widthOf } from './svg.ts';
import { formatted } from './values.ts';

export function drawGraph({ panel, answers, window, size }: Drawn): string {
  const config = panel.fieldConfig?.defaults ?? {};
  const { unit = 'none', custom = {}, thresholds } = config;
  const isStacked = custom.stacking?.mode === 'normal';
  const series = answers.flat();
  const colours = coloursOf(
    series.map(({ legend }) => [legend, optionsOf(panel, legend).fixed] as const),
  );
  const legend = legendOf([...colours], size.width);
  const limits = custom.thresholdsStyle ? (thresholds?.steps ?? []) : [];
  const layers = isStacked ? stacked(series) : series.map(({ points }) => ({ points, below: [] }));
  const most = Math.max(0, ...layers.flatMap(({ points }) => points.map(([, value]) => value)));
  const marks = ticks(most, 4, unit === 'bytes');
  const top = marks[marks.length - 1];
  const names = marks.map((mark) => formatted(mark, unit));
  const left = 10 + Math.max(...names.map((name) => widthOf(name, SMALL)));
  const area: Area = {
    ...{ left, top: 6, width: size.width - left - 4 },
    height: size.height - 6 - LINE - 4 - legend.lines * LINE,
  };
  const y = (value: number) => area.top + area.height * (1 - value / top);
  let content = times(window, area);
  for (const [i, mark] of marks.entries()) {
    const ends = [area.left, area.left + area.width].map((x) => [x, y(mark)] as const);
    content += line(ends, `stroke="${COLOURS.grid}"`);
    const place = { size: SMALL, fill: COLOURS.faint, anchor: 'end' } as const;
    content += text(area.left - 6, y(mark) + 4, names[i], place);
  }
  // The uppermost layer first: those below are drawn over it.
  for (const [i, { points, below }] of [...layers.entries()].reverse()) {
    const stroke = colours.get(series[i].legend) ?? COLOURS.text;
    const places = points.map(([time, value]) => [placeOf(time, window, area), y(value)] as const);
    if (isStacked && places.length > 0) {
      const back = below.map(([time, value]) => [placeOf(time, window, area), y(value)] as const);
      const outline = [...places, ...back.reverse()].map((place) => place.join(',')).join(' ');
      content += `<polygon points="${outline}" fill="${stroke}" fill-opacity="0.5"/>`;
    }
    for (const run of runsOf(points)) {
      const part = run.map(([time, value]) => [placeOf(time, window, area), y(value)] as const);
      const shape = part.length > 1 ? part : [part[0], [part[0][0] + 2, part[0][1]] as const];
      content += line(shape, `stroke="${stroke}" stroke-width="1.5"`);
    }
  }
  for (const { value, color } of limits as Threshold[]) {
    if (value === null || value > top) continue;
    const ends = [area.left, area.left + area.width].map((x) => [x, y(value)] as const);
    content += line(ends, `stroke="${colour(color)}" stroke-dasharray="6 4"`);
  }
  const bottom = size.height - legend.lines * LINE;
  return (
    content + part(0, bottom, { width: size.width, height: legend.lines * LINE }, legend.content)
  );
}

/** Each series on the sum of those before it. */
function stacked(
  series: readonly Answered[],
): { readonly points: Points; readonly below: Points }[] {
  const sums = new Map<number, number>();
  return series.map(({ points }) => {
    const below = points.map(([time]) => [time, sums.get(time) ?? 0] as const);
    for (const [time, value] of points) sums.set(time, (sums.get(time) ?? 0) + value);
    return { points: points.map(([time]) => [time, sums.get(time) ?? 0] as const), below };
  });
}
