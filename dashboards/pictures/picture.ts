// SPDX-License-Identifier: Apache-2.0
/** A whole dashboard as SVG: its panels on their grid, and a line that says who drew it. */
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { TimeSeries } from '../../test/time-series.ts';
import { rowsAndPanels } from '../board.ts';
import type { Selection } from '../panel-queries.ts';
import { answersOf, type Window } from './answers.ts';
import { draw } from './kinds.ts';
import { COLOURS, fitting, part, rectangle, type Size, text } from './svg.ts';

const WIDTH = 1600;
const COLUMNS = 24;
/** px of a row of the grid. */
const ROW = 36;
const GAP = 8;
const HEADING = 44;
const FOOT = 34;
const TITLE = 30;
const FAMILY = 'DejaVu Sans';

const CAPTION =
  'Drawn by dashboards/pictures of this repository, not by Grafana, from what Prometheus answers about ' +
  'simulated hosts. Times are UTC; exemplars and marks of violations are left out.';

export async function picture(
  dashboard: Dashboard,
  engine: TimeSeries,
  selection: Selection,
  window: Window,
): Promise<string> {
  let content = text(GAP, 30, `${dashboard.title}`, { size: 20 });
  let bottom = 0;
  // Closed rows are drawn open.
  for (const panel of rowsAndPanels(dashboard)) {
    const { x = 0, y = 0, w = COLUMNS, h = 1 } = panel.gridPos ?? {};
    const unit = (WIDTH - GAP) / COLUMNS;
    const [left, top] = [GAP + x * unit, HEADING + y * ROW];
    bottom = Math.max(bottom, top + h * ROW);
    if (panel.type === 'row') {
      content += text(left, top + 23, `⌄ ${panel.title}`, { size: 15 });
      continue;
    }
    const outer = { width: w * unit - GAP, height: h * ROW - GAP };
    content += part(
      left,
      top,
      outer,
      await panelOf(panel as Panel, engine, selection, window, outer),
    );
  }
  const height = bottom + FOOT;
  content += text(GAP, bottom + 20, CAPTION, { fill: COLOURS.faint });
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="${FAMILY}">` +
    `${rectangle(0, 0, { width: WIDTH, height }, COLOURS.page)}${content}</svg>`
  );
}

async function panelOf(
  panel: Panel,
  engine: TimeSeries,
  selection: Selection,
  window: Window,
  { width, height }: Size,
): Promise<string> {
  const frame = { width: width - 1, height: height - 1 };
  const size = { width: width - 24, height: height - TITLE - 8 };
  const answers = await answersOf(panel, engine, selection, window);
  return (
    rectangle(0.5, 0.5, frame, COLOURS.panel, `rx="4" stroke="${COLOURS.border}"`) +
    text(12, 21, fitting(panel.title ?? '', width - 24, 13), { size: 13 }) +
    part(12, TITLE, size, draw({ panel, answers, window, size }))
  );
}
