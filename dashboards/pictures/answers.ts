// SPDX-License-Identifier: Apache-2.0
/** What a database answers to the queries of a panel. */
import type { Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import type { TimeSeries } from '../../test/time-series.ts';
import { interpolated, type Selection } from '../panel-queries.ts';

/** One series over time, or now. */
export interface Answered {
  /** As its query's legend has it. */
  readonly legend: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Unix s and value, the latest last. */
  readonly points: readonly (readonly [time: number, value: number])[];
}

/** The part of the time that a picture shows, Unix s. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

interface Result {
  readonly metric: Readonly<Record<string, string>>;
  readonly value?: readonly [number, string];
  readonly values?: readonly (readonly [number, string])[];
}

/** @returns for each query of the panel what was found */
export function answersOf(
  { targets = [] }: Panel,
  engine: TimeSeries,
  selection: Selection,
  { from, to }: Window,
): Promise<Answered[][]> {
  return Promise.all(
    (targets as Dataquery[]).map(async ({ expr, range, legendFormat = '' }) => {
      const query = interpolated(expr, selection);
      const { result } = range
        ? await engine.get<{ result: Result[] }>('query_range', {
            ...{ query, start: `${from}`, end: `${to}`, step: '1' },
          })
        : await engine.get<{ result: Result[] }>('query', { query, time: `${to}` });
      return result.map(({ metric, value, values = value ? [value] : [] }) => ({
        legend: legendFormat.replaceAll(/\{\{(\w+)\}\}/g, (_, label) => metric[label] ?? ''),
        labels: metric,
        points: values
          .map(([time, text]) => [time, Number(text)] as const)
          .filter(([, number]) => !Number.isNaN(number)),
      }));
    }),
  );
}
