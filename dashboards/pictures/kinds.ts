// SPDX-License-Identifier: Apache-2.0
/** Draws a panel of any kind that the dashboards have. */
import type { Drawn } from './drawn.ts';
import { drawGraph } from './graph.ts';
import { drawHeatmap } from './heatmap.ts';
import { drawStat } from './stat.ts';
import { drawTable } from './table.ts';
import { drawTimeline } from './timeline.ts';

/** @returns SVG @throws for a kind of panel that no dashboard had when this was written */
export function draw(drawn: Drawn): string {
  switch (drawn.panel.type) {
    case 'stat':
      return drawStat(drawn);
    case 'table':
      return drawTable(drawn);
    case 'timeseries':
      return drawGraph(drawn);
    case 'state-timeline':
      return drawTimeline(drawn);
    case 'heatmap':
      return drawHeatmap(drawn);
    default:
      throw new Error(`a panel of kind ${drawn.panel.type} has to be added to dashboards/pictures`);
  }
}
