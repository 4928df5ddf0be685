/** What a panel asks, as Grafana would ask it: for tests against real databases. */
import assert from 'node:assert/strict';
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import type { Series, TimeSeries } from '../test/time-series.ts';

export function panelsOf(dashboard: Dashboard): Panel[] {
  return (dashboard.panels ?? []).filter((panel): panel is Panel => panel.type !== 'row');
}

/** An expression with what Grafana puts in for its variables: all hosts, and one device. */
export function chosen(expression: string, device: string): string {
  const values: Readonly<Record<string, string>> = {
    ...{ __rate_interval: '4s', __interval: '1s', __range: '1m' },
    ...{ cluster: '.*', host: '.*', parent: '.*', vm: '.*', device },
  };
  return expression.replaceAll(/\$(\w+)/g, (_, name) => values[name] ?? assert.fail(name));
}

/** Looks at dashboards for one device. */
export class Reader {
  readonly #engine: TimeSeries;
  readonly #device: string;
  readonly #seconds: number;

  /** @param seconds that graphs show */
  constructor(engine: TimeSeries, device: string, seconds: number) {
    this.#engine = engine;
    this.#device = device;
    this.#seconds = seconds;
  }

  async answer({ expr, range }: Dataquery): Promise<Series[]> {
    const asked = chosen(expr, this.#device);
    const found = range ? this.#engine.range(asked, this.#seconds) : this.#engine.query(asked);
    return (await found).filter(({ values }) => values.length > 0);
  }

  /** Whether each query of a panel finds something. */
  async fills({ targets = [] }: Panel): Promise<boolean> {
    const answers = await Promise.all((targets as Dataquery[]).map((one) => this.answer(one)));
    return answers.length > 0 && answers.every((series) => series.length > 0);
  }
}
