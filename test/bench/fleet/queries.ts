// SPDX-License-Identifier: Apache-2.0
/** The queries of Grafana for the Fleet dashboard, and how long the answers take. */
import type { Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import { RECORDINGS } from '../../../dashboards/alerts/recording.ts';
import { build } from '../../../dashboards/board.ts';
import { FLEET } from '../../../dashboards/boards/fleet.ts';
import type { TimeSeries } from '../../time-series.ts';

export interface Query {
  readonly title: string;
  readonly expr: string;
  readonly isRange: boolean;
}

export interface Cost {
  /** ms until the whole answer is there. */
  readonly took: number;
  /** Samples that were read for the answer; undefined where the database does not report it. */
  readonly samples: number | undefined;
  /** Sum of all values of the answer. */
  readonly sum: number;
}

/** s between points of a graph. */
const STEP = 15;

/** @param shown the time range of the dashboard, s */
export function fleetQueries(shown: number, scrapeInterval: number): Query[] {
  const dashboard = build(FLEET);
  const panels = (dashboard.panels ?? []).filter((panel): panel is Panel => panel.type !== 'row');
  const marks = (dashboard.annotations?.list ?? []).map(({ target }) => ({
    title: '(marks)',
    target: { ...(target as Dataquery), range: true },
  }));
  const targets = panels.flatMap(({ title = '', targets = [] }) =>
    targets.map((target) => ({ title, target: target as Dataquery })),
  );
  return [...targets, ...marks].map(({ title, target: { expr, range, interval } }) => {
    const least = interval ? seconds(interval) : scrapeInterval;
    const values: Readonly<Record<string, string>> = {
      // As Grafana computes it.
      __rate_interval: `${Math.max(4 * least, STEP + least)}s`,
      ...{
        __range: `${shown}s`,
        __range_s: `${shown}`,
        __interval: `${Math.max(least, STEP)}s`,
        cluster: '.*',
        host: '.*',
      },
    };
    return {
      title,
      expr: expr.replaceAll(/\$(\w+)/g, (_, name) => values[name]),
      isRange: range === true,
    };
  });
}

/** The same queries on scraped series only: recorded expressions are computed each time. */
export function raw(asked: string): string {
  const selector = '(\\{[^}]*\\})';
  return RECORDINGS.reduce(
    (query, { record, expr }) =>
      query
        .replaceAll(
          new RegExp(`(\\w+)\\(${record}${selector}\\[(\\w+)\\]\\)`, 'g'),
          (_, over, chosen, time) =>
            // A recording rule with a range selector has applied its function over time already.
            expr.includes('[')
              ? of(expr, chosen)
              : of(expr, chosen, (metric) => `${over}(${metric}[${time}])`),
        )
        .replaceAll(
          new RegExp(`${record}${selector}`, 'g'),
          (_, chosen) => `(${of(expr, chosen)})`,
        ),
    asked,
  );
}

/** A rule's expression for the chosen series. */
function of(expr: string, chosen: string, within = (metric: string) => metric): string {
  return expr.replace(/vfioscope_\w+/, (metric) => within(`${metric}${chosen}`));
}

export async function ask(engine: TimeSeries, query: Query, shown: number): Promise<Cost> {
  const end = Date.now() / 1000;
  const times = { start: `${end - shown}`, end: `${end}`, step: `${STEP}` };
  const began = performance.now();
  const { result, stats } = await engine.get<Answer>(query.isRange ? 'query_range' : 'query', {
    ...{ query: query.expr, stats: 'all', nocache: '1' },
    ...(query.isRange ? times : {}),
  });
  const took = performance.now() - began;
  const values = result.map(({ value, values = [] }) => value ?? values.at(-1));
  return {
    took,
    samples: stats?.samples?.totalQueryableSamples,
    sum: values.reduce((sum, value) => sum + Number(value?.[1] ?? 0), 0),
  };
}

interface Answer {
  readonly result: readonly {
    readonly value?: readonly [number, string];
    readonly values?: readonly (readonly [number, string])[];
  }[];
  readonly stats?: { readonly samples?: { readonly totalQueryableSamples?: number } };
}

/** @param text such as "1m" */
function seconds(text: string): number {
  return Number.parseInt(text, 10) * (text.endsWith('m') ? 60 : 1);
}
