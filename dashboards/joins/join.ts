/** A query that joins series of vfioscope with those of another exporter: one fact for docs/joins.md and its test. */
import { OBJECTS } from '../../src/telemetry/metrics/objects.ts';

export interface Join {
  /** The exporter. */
  readonly exporter: string;
  /** What the query answers. */
  readonly question: string;
  /** What it relies on, in whole sentences. */
  readonly because: string;
  /** PromQL, in lines. */
  readonly expr: string;
  /** Sample series: "name{labels} values", as promtool takes them. */
  readonly series: readonly string[];
  /** What the query yields after ten minutes. */
  readonly yields: readonly { readonly labels: string; readonly value: number }[];
}

type Labels = Readonly<Record<string, string>>;

/**
 * A series of vfioscope with all labels that it has, empty where none is given.
 * @param labels with `node` of the target
 * @throws when there is no such metric, or it has no such label
 */
export function own(name: string, labels: Labels): string {
  const metric = OBJECTS.metrics.find((one) => one.name === name);
  if (!metric) throw new Error(`there is no metric ${name}`);
  const { node = 'host1', ...given } = labels;
  const unknown = Object.keys(given).filter((label) => !metric.labels.includes(label));
  if (unknown.length > 0) throw new Error(`${name} has no label ${unknown}`);
  const pairs = metric.labels.map((label) => `${label}="${given[label] ?? ''}"`);
  return `${name}{${[...pairs, `node="${node}"`].join(',')}} 1x10`;
}
