/**
 * The metrics as OpenTelemetry's SDK exports them, from the rows that /metrics is written from. Names and units
 * are those from which OpenTelemetry's rules make the names of /metrics again
 * (specification/compatibility/prometheus_and_openmetrics.md).
 */
import { type Attributes, type HrTime, ValueType } from '@opentelemetry/api';
import { millisToHrTime } from '@opentelemetry/core';
import {
  AggregationTemporality,
  type DataPoint,
  DataPointType,
  type Histogram,
  type MetricData,
  type MetricDescriptor,
} from '@opentelemetry/sdk-metrics';
import { createdOf, type Described, type Metric, type MetricsReading } from './metric.ts';
import { collectObjects } from './object-series.ts';
import { INFINITE, type ObjectSamples, type Samples } from './samples.ts';

/** The units that end names of Prometheus, as UCUM writes them. */
const UNITS: Readonly<Record<string, string>> = { seconds: 's', bytes: 'By', ratio: '1' };

/** A start time that is not known or has no meaning, as OTLP writes it. */
const UNKNOWN: HrTime = [0, 0];

const CUMULATIVE = { aggregationTemporality: AggregationTemporality.CUMULATIVE } as const;

/** All metrics that have series. The state of the agent is read before the first wait. */
export async function metricData({ groups, scrape }: MetricsReading): Promise<MetricData[]> {
  const endTime = millisToHrTime(Date.now());
  const read = async (metric: Metric): Promise<Points> => {
    const created = createdOf(metric, scrape);
    const points = new Points(
      metric,
      created === undefined ? UNKNOWN : millisToHrTime(created * 1000),
      endTime,
    );
    await metric.collect(scrape, points);
    return points;
  };
  const all = await Promise.all(
    groups.map((group) =>
      group.perObject
        ? collectObjects(
            group.metrics,
            scrape,
            (_label, value) => value,
            (metric) => new Points(metric, UNKNOWN, endTime),
          )
        : Promise.all(group.metrics.map(read)),
    ),
  );
  return all
    .flat()
    .map((points) => points.data())
    .filter(({ dataPoints }) => dataPoints.length > 0);
}

/** The name without the suffixes that say type and unit. */
export function descriptorOf({ name, type, help }: Described): MetricDescriptor {
  const counted = type === 'counter' ? name.replace(/_total$/, '') : name;
  const [suffix = '', unit = ''] = /_(seconds|bytes|ratio)$/.exec(counted) ?? [];
  return {
    name: counted.slice(0, counted.length - suffix.length),
    description: help,
    unit: UNITS[unit] ?? '',
    valueType: ValueType.DOUBLE,
  };
}

/** One series of a histogram, as Prometheus has it: bounds from the lowest up, each with all below it. */
interface Buckets {
  readonly attributes: Attributes;
  readonly bounds: number[];
  readonly below: number[];
  sum: number;
  count: number;
}

/** The points of one metric. The SDK has no exemplars. */
class Points implements Samples, ObjectSamples {
  readonly #metric: Described;
  readonly #startTime: HrTime;
  readonly #endTime: HrTime;
  readonly #values: DataPoint<number>[] = [];
  /** By the values of the labels, separated by NUL. */
  readonly #histograms = new Map<string, Buckets>();

  constructor(metric: Described, startTime: HrTime, endTime: HrTime) {
    this.#metric = metric;
    this.#startTime = metric.type === 'gauge' ? UNKNOWN : startTime;
    this.#endTime = endTime;
  }

  show(value: number, labels: readonly string[] = []): void {
    this.#values.push(this.#point(this.#attributes(labels), value));
  }

  about(subject: string, value: number, others: readonly string[] = []): void {
    this.show(value, [subject, ...others]);
  }

  part(suffix: '_bucket' | '_sum' | '_count', value: number, labels: readonly string[] = []): void {
    const own = labels.slice(0, this.#metric.labels.length);
    const buckets = this.#bucketsOf(own);
    if (suffix === '_sum') buckets.sum = value;
    else if (suffix === '_count') buckets.count = value;
    else {
      const bound = labels[own.length];
      // The last bucket has what is left of the count.
      if (bound === INFINITE) return;
      buckets.bounds.push(Number(bound));
      buckets.below.push(value);
    }
  }

  data(): MetricData {
    const descriptor = descriptorOf(this.#metric);
    switch (this.#metric.type) {
      case 'counter':
        return {
          ...{ descriptor, ...CUMULATIVE, dataPoints: this.#values },
          ...{ dataPointType: DataPointType.SUM, isMonotonic: true },
        };
      case 'gauge':
        return {
          ...{ descriptor, ...CUMULATIVE, dataPoints: this.#values },
          dataPointType: DataPointType.GAUGE,
        };
      // The SDK has no summaries; one without quantiles is a histogram without bounds.
      case 'summary':
      case 'histogram':
        return {
          ...{ descriptor, ...CUMULATIVE, dataPointType: DataPointType.HISTOGRAM },
          dataPoints: [...this.#histograms.values()].map((buckets) =>
            this.#point(buckets.attributes, histogramOf(buckets)),
          ),
        };
    }
  }

  #bucketsOf(labels: readonly string[]): Buckets {
    const key = labels.join('\0');
    const known = this.#histograms.get(key);
    if (known) return known;
    const fresh = { attributes: this.#attributes(labels), bounds: [], below: [], sum: 0, count: 0 };
    this.#histograms.set(key, fresh);
    return fresh;
  }

  /** Prometheus makes no difference between a label that is empty and one that is missing. */
  #attributes(labels: readonly string[]): Attributes {
    const attributes: Attributes = {};
    for (const [i, name] of this.#metric.labels.entries()) {
      if (labels[i] !== '') attributes[name] = labels[i];
    }
    return attributes;
  }

  #point<Value>(attributes: Attributes, value: Value): DataPoint<Value> {
    return { startTime: this.#startTime, endTime: this.#endTime, attributes, value };
  }
}

function histogramOf({ bounds, below, sum, count }: Buckets): Histogram {
  const counts = [...below, count].map((upTo, i) => upTo - (below[i - 1] ?? 0));
  return { buckets: { boundaries: bounds, counts }, sum, count };
}
