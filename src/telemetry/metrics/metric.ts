/** What a metric is: one row, from which /metrics and docs/metrics.md are made. */

import type { Violation } from '../../engine/violation.ts';
import type { Device, Vm } from '../../lifecycle/objects.ts';
import type { ShownDeviceState } from '../../lifecycle/states.ts';
import type { Durations } from '../durations.ts';
import type { SnapshotCounts } from '../snapshot-counts.ts';
import type { RaisedExemplars } from './exemplars.ts';
import type { LatestTimes } from './latest-times.ts';
import type { ObjectSamples, Samples } from './samples.ts';
import type { MetricsSource } from './source.ts';

/** What one scrape shows: the agent's state, and the objects that have series of their own. */
export interface Scrape {
  readonly source: MetricsSource;
  readonly durations: Durations;
  /** Events received, by index of their kind. */
  readonly events: Float64Array;
  readonly snapshots: SnapshotCounts;
  readonly raised: RaisedExemplars;
  readonly latest: LatestTimes;
  readonly cost: ScrapeCost;
  readonly devices: readonly Device[];
  /** With what is in progress: opening, closing, binding. */
  readonly stateOf: (device: Device) => ShownDeviceState;
  readonly vms: readonly Vm[];
  /** Ongoing violations. */
  readonly violations: readonly Violation[];
  /** How many objects have no series because of the limit, by kind. */
  readonly capped: Readonly<Record<string, number>>;
}

/** What is shown: the metrics, and the state that their values are read from. */
export interface MetricsReading {
  readonly groups: readonly (MetricGroup | ObjectMetricGroup)[];
  readonly scrape: Scrape;
}

/** How long the scrapes so far have occupied the event loop. */
export interface ScrapeCost {
  readonly scrapes: number;
  /** ns. */
  readonly held: number;
}

/** A metric without its values. */
export interface Described {
  /** Ends in its unit (`_seconds`, `_bytes`), in `_total` if it counts, in `_info` if it is always 1. */
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary';
  readonly labels: readonly string[];
  /** One line that can be understood without this documentation. */
  readonly help: string;
  /** An example query in PromQL that answers a question. */
  readonly query: string;
}

export interface Metric extends Described {
  /**
   * Whether a series appears when it is first used. OpenMetrics then says since when it counts (`_created`), so
   * that its first sample counts as an increase where Prometheus reads that.
   */
  readonly fromFirstUse?: true;
  /** Whether it counts since the probes were pinned, if they are: perhaps for an earlier agent. */
  readonly fromPinning?: true;
  /** Writes all samples. The state of the agent is read before anything is awaited. */
  collect(scrape: Scrape, samples: Samples): void | Promise<void>;
}

/** A metric with series for single devices, VMs or violations. */
export interface ObjectMetric extends Described {
  readonly type: 'gauge';
  /** Writes all samples at once; the two below write those of one object. */
  readonly collect?: (scrape: Scrape, samples: ObjectSamples) => void;
  readonly ofDevice?: ShowObject<Device>;
  readonly ofVm?: ShowObject<Vm>;
}

/** Objects are visited once for all metrics together: fetching them from memory takes longest. */
export type ShowObject<T> = (
  object: T,
  subject: string,
  samples: ObjectSamples,
  scrape: Scrape,
) => void;

/** Metrics that are documented together. */
export interface MetricGroup {
  readonly title: string;
  readonly about: string;
  readonly perObject?: undefined;
  readonly metrics: readonly Metric[];
}

/** Series of single objects, which `metrics.per_device: false` disables. */
export interface ObjectMetricGroup {
  readonly title: string;
  readonly about: string;
  readonly perObject: true;
  readonly metrics: readonly ObjectMetric[];
}

/** When this process began, seconds since 1970. */
const STARTED = Math.round(performance.timeOrigin) / 1000;

/**
 * Since when the series of a metric count, seconds since 1970: nothing was counted before the agent started,
 * except by pinned probes, of which it is not known since when.
 */
export function createdOf(
  { fromPinning }: Pick<Metric, 'fromPinning'>,
  { source }: Scrape,
): number | undefined {
  return fromPinning && source.pinned() ? undefined : STARTED;
}

/** The unit in which a name ends, "" for plain numbers. */
export function unitOf({ name }: Pick<Described, 'name'>): string {
  return /_(seconds|bytes)(?:_total)?$/.exec(name)?.[1] ?? '';
}

/**
 * Counts objects by the values of labels.
 * @param by the values of one object, separated by NUL
 */
export function tally<T>(all: Iterable<T>, by: (one: T) => string): readonly Tally[] {
  const counts = new Map<string, number>();
  for (const one of all) {
    const key = by(one);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return Array.from(counts, ([key, count]) => ({ labels: key.split('\0'), count }));
}

/**
 * Adds a count of 0 for each set of labels that nothing was counted for.
 * @param keys the values of labels, separated by NUL
 */
export function withZeros(counted: readonly Tally[], keys: readonly string[]): readonly Tally[] {
  const known = new Set(counted.map(({ labels }) => labels.join('\0')));
  const missing = keys.filter((key) => !known.has(key));
  return [...counted, ...missing.map((key) => ({ labels: key.split('\0'), count: 0 }))];
}

interface Tally {
  readonly labels: readonly string[];
  readonly count: number;
}
