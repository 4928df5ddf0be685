/** The kinds of panel that the dashboards use, each with its title, description, unit and thresholds. */
import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import {
  BigValueColorMode,
  BigValueGraphMode,
  GraphThresholdsStyleConfigBuilder,
  GraphThresholdsStyleMode,
  HeatmapCellLayout,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  StackingConfigBuilder,
  StackingMode,
  TableSortByFieldStateBuilder,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import {
  type DynamicConfigValue,
  FieldColorBuilder,
  FieldColorModeId,
  type Panel,
  type Threshold,
  ThresholdsConfigBuilder,
  ThresholdsMode,
} from '@grafana/grafana-foundation-sdk/dashboard';
import * as heatmaps from '@grafana/grafana-foundation-sdk/heatmap';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';
import * as stats from '@grafana/grafana-foundation-sdk/stat';
import * as timelines from '@grafana/grafana-foundation-sdk/statetimeline';
import * as tables from '@grafana/grafana-foundation-sdk/table';
import * as series from '@grafana/grafana-foundation-sdk/timeseries';
import {
  type Colour,
  type Colours,
  codeMappings,
  nothingMapping,
  textMappings,
} from './colours.ts';
import { SOURCE } from './variables.ts';

/** The width of a dashboard, in columns of Grafana's grid. */
export const FULL_WIDTH = 24;

interface Common {
  readonly title: string;
  /** What the panel shows, and what to do about it. */
  readonly description: string;
  /** Grafana's name of the unit, such as `s` or `bytes`. */
  readonly unit: string;
  /** Columns, of 24. */
  readonly width: number;
  /** Grid rows of about 30 pixels; the default depends on the kind of panel. */
  readonly height?: number;
  /** The value from which each colour applies; below the first, the value is normal. */
  readonly thresholds?: readonly (readonly [from: number, colour: Colour])[];
}

interface Query {
  readonly expr: string;
  readonly legend: string;
  /** The smallest step between points in seconds, for series that are recorded less often. */
  readonly minStep?: number;
}

export interface StatOptions extends Common {
  readonly expr: string;
  /** The values behind the codes of `stateCodes()`. */
  readonly codes?: Colours;
  /** The text for a query without result, where that is the normal case. */
  readonly none?: string;
  /** The text for a query without result, where that means that nothing is known. */
  readonly unknown?: string;
}

/** One current value. */
export function stat(options: StatOptions): Builder<Panel> {
  const panel = new stats.PanelBuilder()
    .height(4)
    .graphMode(BigValueGraphMode.None)
    .colorMode(options.codes ? BigValueColorMode.Background : BigValueColorMode.Value)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .withTarget(query({ expr: options.expr, legend: '' }).instant());
  if (isCount(options)) panel.decimals(0);
  if (options.codes) panel.mappings([codeMappings(options.codes)]);
  // Grafana shows the text of `noValue` in the colour of a normal value.
  if (options.unknown) panel.mappings([nothingMapping(options.unknown)]);
  if (options.none) panel.noValue(options.none);
  return describe(panel, options);
}

export interface GraphOptions extends Common {
  readonly queries: readonly Query[];
  /** Stacks the series, which are parts of a whole. */
  readonly stacked?: boolean;
  /** Colours of series, by their legend. */
  readonly colours?: Colours;
  /** Shows exemplars, which link to traces, where the data source has them. */
  readonly exemplars?: boolean;
}

/** Values over time. */
export function graph(options: GraphOptions): Builder<Panel> {
  const { queries, stacked = false, colours = {}, exemplars = false } = options;
  const panel = new series.PanelBuilder()
    .height(8)
    .min(0)
    .fillOpacity(stacked ? 50 : 0)
    .stacking(new StackingConfigBuilder().mode(stacked ? StackingMode.Normal : StackingMode.None))
    .legend(legend())
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi))
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.PaletteClassicByName))
    .targets(queries.map((one) => query(one).range().exemplar(exemplars)));
  if (options.thresholds) {
    panel.thresholdsStyle(
      new GraphThresholdsStyleConfigBuilder().mode(GraphThresholdsStyleMode.Dashed),
    );
  }
  for (const [name, fixedColor] of Object.entries(colours)) {
    panel.overrideByName(name, [{ id: 'color', value: { mode: 'fixed', fixedColor } }]);
  }
  return describe(panel, options);
}

export interface TimelineOptions extends Omit<Common, 'unit' | 'thresholds'> {
  readonly queries: readonly Query[];
  /** The values behind the codes that the queries return. */
  readonly codes: Colours;
}

/** States over time, with one row for each series. */
export function timeline({ queries, codes, ...common }: TimelineOptions) {
  const panel = new timelines.PanelBuilder()
    .height(8)
    .mappings([codeMappings(codes)])
    .mergeValues(true)
    .showValue(VisibilityMode.Auto)
    .perPage(20)
    .legend(legend())
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Single))
    .targets(queries.map((one) => query(one).range()));
  return describe(panel, { ...common, unit: 'none' });
}

export interface HeatmapOptions extends Omit<Common, 'unit' | 'thresholds'> {
  /** Histogram buckets in seconds, with the label `le` only. */
  readonly expr: string;
}

/** Durations over time; a darker cell has more samples. */
export function heatmap({ expr, ...common }: HeatmapOptions): Builder<Panel> {
  const panel = new heatmaps.PanelBuilder()
    .height(8)
    .calculate(false)
    .color(
      new heatmaps.HeatmapColorOptionsBuilder()
        .mode(heatmaps.HeatmapColorMode.Scheme)
        .scheme('Oranges')
        .scale(heatmaps.HeatmapColorScale.Exponential)
        .exponent(0.5)
        .steps(64)
        .fill('dark-orange')
        .reverse(false),
    )
    .rowsFrame(new heatmaps.RowsHeatmapOptionsBuilder().layout(HeatmapCellLayout.Auto))
    .yAxis(new heatmaps.YAxisConfigBuilder().unit('s'))
    .cellValues(new heatmaps.CellValuesBuilder().unit('none'))
    .filterValues(new heatmaps.FilterValueRangeBuilder().le(1e-9))
    .tooltip(
      new heatmaps.HeatmapTooltipBuilder().mode(TooltipDisplayMode.Single).showColorScale(true),
    )
    .showLegend()
    .withTarget(query({ expr, legend: '{{le}}' }).range().format(PromQueryFormat.Heatmap));
  return describe(panel, { ...common, unit: 's' });
}

/** A column with the values of a query. */
export interface ValueColumn {
  readonly name: string;
  readonly expr: string;
  readonly unit: string;
  readonly thresholds?: Common['thresholds'];
  readonly codes?: Colours;
}

/** A column with the values of a label. */
export interface LabelColumn {
  readonly name: string;
  /** The target of a click on a cell. */
  readonly link?: { readonly title: string; readonly url: string };
  readonly colours?: Colours;
}

export interface TableOptions extends Omit<Common, 'unit' | 'thresholds'> {
  /** Columns by label, in their order. */
  readonly labels: Readonly<Record<string, LabelColumn>>;
  /** Rows whose common labels are equal are merged into one. */
  readonly values: readonly ValueColumn[];
  /** The column by which the table is sorted, highest value first. */
  readonly sortBy?: string;
  /** The column by which rows are sorted that are equal in `sortBy`, lowest value first. */
  readonly thenBy?: string;
  /** Labels by which rows are merged and that have no column. */
  readonly hidden?: readonly string[];
  /** The text for a query without result, where that is the normal case. */
  readonly none?: string;
  /** Hides the value columns: the value of an info metric is always 1. */
  readonly hideValues?: boolean;
}

/** Current values by labels. */
export function table(options: TableOptions): Builder<Panel> {
  const {
    labels,
    values,
    hidden = [],
    sortBy,
    thenBy,
    none,
    hideValues = false,
    ...common
  } = options;
  const names = values.map(({ name }, i) => [
    `Value${values.length > 1 ? ` #${refId(i)}` : ''}`,
    name,
  ]);
  const columns = [...Object.entries(labels).map(([label, { name }]) => [label, name]), ...names];
  const panel = new tables.PanelBuilder()
    .height(8)
    .filterable(true)
    .targets(
      values.map(({ expr }, i) =>
        query({ expr, legend: '' }).refId(refId(i)).instant().format(PromQueryFormat.Table),
      ),
    )
    .withTransformation({ id: 'merge', options: {} })
    .withTransformation({
      id: 'organize',
      options: {
        excludeByName: {
          ...{ Time: true, cluster: !('cluster' in labels) },
          ...Object.fromEntries(hidden.map((label) => [label, true])),
          ...(hideValues ? Object.fromEntries(names.map(([value]) => [value, true])) : {}),
        },
        indexByName: Object.fromEntries(columns.map(([column], i) => [column, i])),
        renameByName: Object.fromEntries(columns),
      },
    });
  const sorted = (name: string, desc: boolean) =>
    new TableSortByFieldStateBuilder().displayName(name).desc(desc);
  if (sortBy) panel.sortBy([sorted(sortBy, true), ...(thenBy ? [sorted(thenBy, false)] : [])]);
  if (none) panel.noValue(none);
  for (const { name, link, colours } of Object.values(labels)) {
    panel.overrideByName(name, [
      ...(link ? [{ id: 'links', value: [link] }] : []),
      ...(colours ? coloured({ id: 'mappings', value: [textMappings(colours)] }) : []),
    ]);
  }
  if (!hideValues) {
    for (const { name, unit, thresholds, codes } of values) {
      panel.overrideByName(name, [
        { id: 'unit', value: unit },
        ...(isCount({ unit }) ? [{ id: 'decimals', value: 0 }] : []),
        ...(thresholds ? coloured({ id: 'thresholds', value: stepsOf(thresholds) }) : []),
        ...(codes ? coloured({ id: 'mappings', value: [codeMappings(codes)] }) : []),
      ]);
    }
  }
  return describe(panel, { ...common, unit: 'none' });
}

/** Counts are shown without decimals: increases of counters are estimates that have some. */
function isCount({ unit }: Pick<Common, 'unit'>): boolean {
  return unit === 'none';
}

function coloured(property: DynamicConfigValue): DynamicConfigValue[] {
  return [property, { id: 'custom.cellOptions', value: { type: 'color-text' } }];
}

function query({ expr, legend, minStep }: Query): DataqueryBuilder {
  const builder = new DataqueryBuilder().datasource(SOURCE).expr(expr).legendFormat(legend);
  return minStep ? builder.interval(`${minStep}s`) : builder;
}

/** Grafana's name of a query: A, B, C … */
function refId(index: number): string {
  return String.fromCharCode(65 + index);
}

function legend(): VizLegendOptionsBuilder {
  return new VizLegendOptionsBuilder()
    .showLegend(true)
    .displayMode(LegendDisplayMode.List)
    .placement(LegendPlacement.Bottom);
}

function stepsOf(thresholds: NonNullable<Common['thresholds']>) {
  const steps: Threshold[] = [
    { value: null, color: 'green' },
    ...thresholds.map(([value, color]) => ({ value, color })),
  ];
  return { mode: ThresholdsMode.Absolute, steps };
}

/** What the builders of all kinds of panel have in common. */
interface PanelBuilder extends Builder<Panel> {
  title(title: string): this;
  description(description: string): this;
  unit(unit: string): this;
  span(columns: number): this;
  height(rows: number): this;
  datasource(source: typeof SOURCE): this;
  thresholds(thresholds: Builder<ReturnType<typeof stepsOf>>): this;
}

function describe<Kind extends PanelBuilder>(panel: Kind, options: Common): Kind {
  const { title, description, unit, width, height, thresholds = [] } = options;
  if (height) panel.height(height);
  const { mode, steps } = stepsOf(thresholds);
  return panel
    .title(title)
    .description(description)
    .unit(unit)
    .span(width)
    .datasource(SOURCE)
    .thresholds(new ThresholdsConfigBuilder().mode(mode).steps(steps));
}
