/** Builds a dashboard from rows of panels and adds what all dashboards share. */
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
  type RowPanel,
  type VariableModel,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus';
import { datasource, SOURCE } from './variables.ts';

/** The tag of all dashboards; the menu that links them selects by it. */
const TAG = 'vfioscope';

export interface Annotations {
  /** PromQL with the labels rule and severity; graphs are annotated while it is above 0. */
  readonly expr: string;
  /** The text of an annotation, with labels in double braces. */
  readonly text: string;
}

export interface Board {
  /** The name of its file, and of its address in Grafana (`vfioscope-` precedes it). */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly variables: readonly Builder<VariableModel>[];
  /** Graphs are annotated with violations. */
  readonly annotations: Annotations;
  readonly links?: readonly Builder<DashboardLink>[];
  /** The panels of each row, by the title of the row. */
  readonly rows: Readonly<Record<string, readonly Builder<Panel>[]>>;
  /** The rows that are closed at first: Grafana does not run the queries of a closed row. */
  readonly closed?: readonly string[];
}

export function build(board: Board): Dashboard {
  const { name, title, description, variables, annotations, links = [], rows, closed = [] } = board;
  const builder = new DashboardBuilder(`vfioscope / ${title}`)
    .uid(`vfioscope-${name}`)
    .description(description)
    .tags([TAG])
    .time({ from: 'now-1h', to: 'now' })
    .refresh('30s')
    .tooltip(DashboardCursorSync.Crosshair)
    .variables([datasource, ...variables])
    .annotation(violationAnnotations(annotations))
    .links([dashboardMenu(), ...links]);
  for (const [heading, panels] of Object.entries(rows)) {
    const row = new RowBuilder(heading);
    if (closed.includes(heading)) {
      for (const panel of panels) row.withPanel(panel);
      builder.withRow(row.collapsed(true));
    } else {
      builder.withRow(row);
      for (const panel of panels) builder.withPanel(panel);
    }
  }
  const dashboard = builder.build();
  // Links to a single panel need its id.
  for (const [i, panel] of rowsAndPanels(dashboard).entries()) panel.id = i + 1;
  return dashboard;
}

/** All rows and panels, also those that are in a closed row. */
export function rowsAndPanels({ panels = [] }: Pick<Dashboard, 'panels'>): (Panel | RowPanel)[] {
  return panels.flatMap((one) => ('panels' in one ? [one, ...one.panels] : [one]));
}

function violationAnnotations({ expr, text }: Annotations): AnnotationQueryBuilder {
  return new AnnotationQueryBuilder()
    .name('Violations')
    .datasource(SOURCE)
    .enable(true)
    .iconColor('red')
    .target(new DataqueryBuilder().refId('Violations').expr(expr).interval('30s'))
    .titleFormat('{{severity}}: {{rule}}')
    .textFormat(text)
    .tagKeys('severity');
}

function dashboardMenu(): DashboardLinkBuilder {
  return new DashboardLinkBuilder('vfioscope')
    .type(DashboardLinkType.Dashboards)
    .tags([TAG])
    .asDropdown(true)
    .includeVars(true)
    .keepTime(true);
}

/**
 * A link from a table cell to another dashboard, which selects the object of the row there.
 * @param variables of the other dashboard, each with the column that has its value
 */
export function boardLink(
  name: string,
  title: string,
  variables: Readonly<Record<string, string>>,
) {
  const selected = Object.entries(variables).map(
    ([variable, column]) => `var-${variable}=\${__data.fields["${column}"]}`,
  );
  const kept = ['${datasource:queryparam}', '${cluster:queryparam}', '${__url_time_range}'];
  return { title, url: `/d/vfioscope-${name}?${[...kept, ...selected].join('&')}` };
}
