/** A dashboard out of rows of panels, with what all of them have in common. */
import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import {
  AnnotationQueryBuilder,
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  type DashboardLink,
  DashboardLinkBuilder,
  DashboardLinkType,
  type Panel,
  RowBuilder,
  type VariableModel,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus';
import { datasource, SOURCE } from './variables.ts';

/** All dashboards have it; each leads to the others by it. */
const TAG = 'vfioscope';

export interface Board {
  /** Of its file, its address in Grafana, and links to it. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly variables: readonly Builder<VariableModel>[];
  /** PromQL of what is marked in all graphs while it is above 0, with the labels rule and severity. */
  readonly marks: string;
  readonly links?: readonly Builder<DashboardLink>[];
  /** Panels by the title of their row. */
  readonly rows: Readonly<Record<string, readonly Builder<Panel>[]>>;
}

export function build(board: Board): Dashboard {
  const { name, title, description, variables, marks, links = [], rows } = board;
  const builder = new DashboardBuilder(`vfioscope / ${title}`)
    .uid(`vfioscope-${name}`)
    .description(description)
    .tags([TAG])
    .time({ from: 'now-1h', to: 'now' })
    .refresh('30s')
    .tooltip(DashboardCursorSync.Crosshair)
    .variables([datasource, ...variables])
    .annotation(violations(marks))
    .links([toOthers(), ...links]);
  for (const [heading, panels] of Object.entries(rows)) {
    builder.withRow(new RowBuilder(heading));
    for (const panel of panels) builder.withPanel(panel);
  }
  const dashboard = builder.build();
  // Two queries of one panel need names, and panels numbers to link to.
  for (const [i, panel] of (dashboard.panels ?? []).entries()) panel.id = i + 1;
  return dashboard;
}

function violations(expr: string): AnnotationQueryBuilder {
  return new AnnotationQueryBuilder()
    .name('Violations')
    .datasource(SOURCE)
    .enable(true)
    .iconColor('red')
    .target(new DataqueryBuilder().refId('Violations').expr(expr).interval('30s'))
    .titleFormat('{{rule}}')
    .textFormat('{{instance}} {{device}}')
    .tagKeys('severity');
}

function toOthers(): DashboardLinkBuilder {
  return new DashboardLinkBuilder('vfioscope')
    .type(DashboardLinkType.Dashboards)
    .tags([TAG])
    .asDropdown(true)
    .includeVars(true)
    .keepTime(true);
}

/** A link from a cell to another dashboard, on what the row is about. @param vars name to column */
export function toBoard(name: string, title: string, vars: Readonly<Record<string, string>>) {
  const chosen = Object.entries(vars).map(
    ([variable, column]) => `var-${variable}=\${__data.fields["${column}"]}`,
  );
  const kept = ['${datasource:queryparam}', '${cluster:queryparam}', '${__url_time_range}'];
  return { title, url: `/d/vfioscope-${name}?${[...kept, ...chosen].join('&')}` };
}
