/** What a metric is: one row, of which /metrics and docs/metrics.md are made. */
import type { PointStatus } from '../../events/source.ts';
import type { Device, Vm } from '../../lifecycle/objects.ts';
import type { World } from '../../lifecycle/world.ts';
import type { RuleEngine } from '../../rules/engine.ts';
import type { Violation } from '../../rules/violation.ts';
import type { Durations } from '../durations.ts';
import type { ExportCounts } from '../export-counts.ts';
import type { Looks } from '../looks.ts';
import type { RaisedExemplars } from './exemplars.ts';

/** What the metrics need to know; the agent provides it. */
export interface MetricsSource {
  readonly version: string;
  readonly world: World;
  readonly rules: RuleEngine;
  /** Events by moment index. */
  readonly events: Float64Array;
  readonly lost: Readonly<Record<string, number>>;
  /** ns on the boot-time clock when events were last found lost, 0 for never. */
  lastLossAt(): number;
  /** Seconds since 1970 of a time in ns on the boot-time clock. */
  sinceEpoch(at: number): number;
  /** ns on the boot-time clock. */
  now(): number;
  /** Looks at the host, which put right what was lost. */
  readonly looks: Looks;
  /** Gaps in the sequence numbers that the reader saw, by CPU. */
  sequenceGaps(): readonly number[];
  lanes(): readonly { cpu: number; attempts: number; dropped: number }[];
  ring(): { readonly bytes: number; readonly backlog: number };
  /** What all agents have read from a pinned ring, by moment index; undefined where it is not pinned. */
  pinned(): { readonly lost: number; readonly counts: Float64Array } | undefined;
  probes(): readonly {
    readonly point: string;
    readonly state: PointStatus['state'];
    readonly symbol?: string;
    readonly method?: string;
    readonly missed: number;
  }[];
  ruleStates(): readonly {
    readonly id: string;
    readonly active: boolean;
    /** Why what it looks for cannot happen on this kernel. */
    readonly impossible?: string;
  }[];
  /** How many more mdevs of each type a parent offers, as far as its driver has answered. */
  availableInstances(parent: string): ReadonlyMap<string, number> | undefined;
  logLinesDropped(): number;
  /** Log lines that a rule had too many of, by its id. */
  readonly logLinesHeldBack: ReadonlyMap<string, number>;
  /** What became of what was for a collector; undefined where there is none. */
  readonly exported: ExportCounts | undefined;
  /** The trace that shows a life, 32 hexadecimal digits; undefined when there is none. */
  traceIdOf(life: Device | Vm): string | undefined;
}

/** What one scrape shows: the agent's state, and of single lives those that get series of their own. */
export interface Scrape {
  readonly source: MetricsSource;
  readonly durations: Durations;
  readonly raised: RaisedExemplars;
  readonly cost: ScrapeCost;
  readonly devices: readonly Device[];
  readonly vms: readonly Vm[];
  /** Conditions that last. */
  readonly violations: readonly Violation[];
  /** How many had to go without, by kind. */
  readonly capped: Readonly<Record<string, number>>;
}

/** What the scrapes so far took of the event loop. */
export interface ScrapeCost {
  readonly scrapes: number;
  /** ns. */
  readonly held: number;
}

/** Takes the samples of one metric. */
export interface Samples {
  /** @param labels their values, in the order of the metric's labels */
  show(value: number, labels?: readonly string[], exemplar?: Exemplar): void;
  /** One of the series that a histogram or summary consists of; of a bucket its bound is the last label. */
  part(
    suffix: '_bucket' | '_sum' | '_count',
    value: number,
    labels?: readonly string[],
    exemplar?: Exemplar,
  ): void;
}

/** Takes the samples of one metric of single lives. */
export interface LifeSamples {
  /** @param labels their values, in the order of the metric's labels */
  show(value: number, labels: readonly string[]): void;
  /**
   * A series of a single life.
   * @param subject its first label, see subject()
   * @param others the values of the labels after that
   */
  about(subject: string, value: number, others?: readonly string[]): void;
}

/** An observation that a trace tells more about; only OpenMetrics shows it. */
export interface Exemplar {
  readonly traceId: string;
  readonly value: number;
  /** Seconds since 1970. */
  readonly at: number;
}

/** What is known of a metric without its values. */
export interface Described {
  /** Ends in its unit (`_seconds`, `_bytes`), in `_total` if it counts, in `_info` if it is always 1. */
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary';
  readonly labels: readonly string[];
  /** One line, also for people who see nothing else of it. */
  readonly help: string;
  /** PromQL that answers a question with it. */
  readonly query: string;
}

export interface Metric extends Described {
  /** Shows all of its samples. What is of the agent's own state is read before anything is awaited. */
  collect(scrape: Scrape, samples: Samples): void | Promise<void>;
}

/** A metric with series for single lives. */
export interface LifeMetric extends Described {
  readonly type: 'gauge';
  /** Shows all of its samples at once; the others show those of one life. */
  readonly collect?: (scrape: Scrape, samples: LifeSamples) => void;
  readonly ofDevice?: ShowLife<Device>;
  readonly ofVm?: ShowLife<Vm>;
}

/** Lives are gone through once, for all metrics together: to find them in memory takes longest. */
export type ShowLife<T> = (
  life: T,
  subject: string,
  samples: LifeSamples,
  source: MetricsSource,
) => void;

/** Metrics that are documented together. */
export interface MetricGroup {
  readonly title: string;
  readonly about: string;
  readonly perLife?: undefined;
  readonly metrics: readonly Metric[];
}

/** Series of single lives, which `metrics.per_device` switches off. */
export interface LifeMetricGroup {
  readonly title: string;
  readonly about: string;
  readonly perLife: true;
  readonly metrics: readonly LifeMetric[];
}

/** The unit that a name ends in, "" for plain numbers. */
export function unitOf({ name }: Pick<Described, 'name'>): string {
  return /_(seconds|bytes)(?:_total)?$/.exec(name)?.[1] ?? '';
}

/** The upper bound of a bucket as Prometheus 3 and OpenMetrics write it: another text would be another series. */
export function boundText(bound: number): string {
  if (!Number.isFinite(bound)) return '+Inf';
  return bound % 1 === 0 ? `${bound}.0` : `${bound}`;
}

/**
 * Counts by the values of labels.
 * @param by the values, with NUL between them
 */
export function tally<T>(all: Iterable<T>, by: (one: T) => string): Iterable<Tally> {
  const counts = new Map<string, number>();
  for (const one of all) {
    const key = by(one);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return Array.from(counts, ([key, count]) => ({ labels: key.split('\0'), count }));
}

interface Tally {
  readonly labels: readonly string[];
  readonly count: number;
}
