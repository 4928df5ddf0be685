// SPDX-License-Identifier: Apache-2.0
/** The cost of rules and queries on a database that has scraped for a while. */
import type { TimeSeries } from '../../time-series.ts';
import { median, type Round, ratio, spread, table } from '../rounds.ts';
import { ask, type Cost, fleetQueries, type Query, raw } from './queries.ts';

/** How often each query is sent, after once to warm up. */
export const ROUNDS = 5;

interface RuleGroups {
  readonly groups: readonly {
    readonly name: string;
    readonly interval: number;
    readonly evaluationTime: number;
    readonly rules: readonly {
      readonly name: string;
      readonly query: string;
      readonly evaluationTime: number;
    }[];
  }[];
}

/** The duration of the latest evaluation of rules. */
export async function showRules(engine: TimeSeries): Promise<void> {
  const { groups } = await engine.get<RuleGroups>('rules');
  const costs = await Promise.all(
    groups.map(async ({ name, interval, evaluationTime, rules }) => {
      const read = await Promise.all(
        rules.map(async ({ name, query, evaluationTime }) => {
          const { samples = 0 } = await ask(engine, { title: '', expr: query, isRange: false }, 0);
          return { name, samples, evaluationTime };
        }),
      );
      const samples = read.reduce((sum, one) => sum + one.samples, 0);
      return { name, interval, evaluationTime, samples, read };
    }),
  );
  console.log(
    '\nRules on Prometheus: what their latest evaluation took, and samples that it reads',
  );
  table([
    ['group', 'ms', 'of its interval', 'samples'],
    ...costs.map(({ name, interval, evaluationTime, samples }) => [
      ...[name, ms(evaluationTime), `${((100 * evaluationTime) / interval).toFixed(2)} %`],
      `${samples}`,
    ]),
  ]);
  const dearest = costs
    .flatMap(({ read }) => read)
    .toSorted((a, b) => b.samples - a.samples)
    .slice(0, 6);
  console.log();
  table([
    ['the rules that read most', 'ms', 'samples'],
    ...dearest.map(({ name, evaluationTime, samples }) => [name, ms(evaluationTime), `${samples}`]),
  ]);
}

interface Compared {
  readonly query: Query;
  readonly recorded: readonly Cost[];
  readonly raw: readonly Cost[];
}

/** @param shown the time range of the dashboard, s */
export async function showQueries(
  name: string,
  engine: TimeSeries,
  shown: number,
  interval: number,
): Promise<void> {
  const compared: Compared[] = [];
  for (const query of fleetQueries(shown, interval)) {
    const peer = { ...query, expr: raw(query.expr) };
    const costs: { recorded: Cost; raw: Cost }[] = [];
    for (let i = 0; i <= ROUNDS; i++) {
      costs.push({
        recorded: await ask(engine, query, shown),
        raw: await ask(engine, peer, shown),
      });
    }
    const [, ...warm] = costs;
    compared.push({
      query,
      recorded: warm.map((one) => one.recorded),
      raw: warm.map((one) => one.raw),
    });
  }
  console.log(
    `\nThe Fleet dashboard on ${name}, last ${(shown / 60).toFixed(1)} min: ms a query, and samples that it reads`,
  );
  const total = (of: 'recorded' | 'raw') =>
    Array.from({ length: ROUNDS }, (_, i) =>
      compared.reduce((sum, one) => sum + one[of][i].took, 0),
    );
  const read = (of: 'recorded' | 'raw') =>
    compared.reduce((sum, one) => sum + (one[of][0].samples ?? 0), 0);
  const [recorded, scraped] = [total('recorded'), total('raw')];
  const all: Round[] = recorded.map((ours, i) => ({ ours, peer: scraped[i] }));
  table([
    ['panel', 'as it is', 'without recording rules', 'ratio', 'samples', 'without', 'answers'],
    ...compared.map(row),
    [
      ...['all of it', spread(recorded, 1), spread(scraped, 1), ratio(all)],
      ...[`${read('recorded')}`, `${read('raw')}`, ''],
    ],
  ]);
}

function row({ query: { title, expr }, recorded, raw: scraped }: Compared): string[] {
  const [ours, peers] = [recorded, scraped].map((costs) => costs.map(({ took }) => took));
  const rounds: Round[] = ours.map((one, i) => ({ ours: one, peer: peers[i] }));
  const isSame = raw(expr) === expr;
  const samples = ([{ samples }]: readonly Cost[]) => `${samples ?? '–'}`;
  if (isSame) return [title, median(ours).toFixed(1), '', '', samples(recorded), '', ''];
  return [
    ...[title, spread(ours, 1), spread(peers, 1), ratio(rounds)],
    ...[samples(recorded), samples(scraped)],
    `${recorded[0].sum.toPrecision(4)}, ${scraped[0].sum.toPrecision(4)}`,
  ];
}

export function ms(seconds: number): string {
  return (seconds * 1000).toFixed(1);
}
