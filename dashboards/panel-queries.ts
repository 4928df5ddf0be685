/** Runs the queries of panels as Grafana would, for tests against real databases. */
import assert from 'node:assert/strict';
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import type { Series, TimeSeries } from '../test/time-series.ts';
import { rowsAndPanels } from './board.ts';

export function panelsOf(dashboard: Dashboard): Panel[] {
  return rowsAndPanels(dashboard).filter((panel): panel is Panel => panel.type !== 'row');
}

/** The values of the variables of a dashboard; `.*` is All. */
export interface Selection {
  readonly host: string;
  readonly device: string;
  readonly vm: string;
}

/** An expression with its variables replaced as Grafana replaces them, and a time range of an hour. */
export function interpolated(expression: string, selection: Selection, scrapeSeconds = 1): string {
  const values: Readonly<Record<string, string>> = {
    ...{ __rate_interval: `${4 * scrapeSeconds}s`, __interval: `${scrapeSeconds}s` },
    ...{ __range: '1h', __range_s: '3600', cluster: '.*', parent: '.*', ...selection },
  };
  return expression.replaceAll(/\$(\w+)/g, (_, name) => values[name] ?? assert.fail(name));
}

/** The time range of graphs, in scrapes. */
const RANGE_SCRAPES = 20;

/** Runs queries of panels on one database, with one selection. */
export class PanelReader {
  readonly #database: TimeSeries;
  readonly #selection: Selection;
  readonly #scrapeSeconds: number;

  /** @param scrapeSeconds between scrapes */
  constructor(database: TimeSeries, selection: Selection, scrapeSeconds: number) {
    this.#database = database;
    this.#selection = selection;
    this.#scrapeSeconds = scrapeSeconds;
  }

  async run({ expr, range }: Dataquery): Promise<Series[]> {
    const query = interpolated(expr, this.#selection, this.#scrapeSeconds);
    const seconds = RANGE_SCRAPES * this.#scrapeSeconds;
    const series = range ? this.#database.range(query, seconds) : this.#database.query(query);
    return (await series).filter(({ values }) => values.length > 0);
  }

  /** Whether each query of a panel returns series. */
  async hasData({ targets = [] }: Panel): Promise<boolean> {
    const results = await Promise.all((targets as Dataquery[]).map((target) => this.run(target)));
    return results.length > 0 && results.every((series) => series.length > 0);
  }
}
