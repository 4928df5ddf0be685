/** Writes metrics with prom-client, in the text format of Prometheus and in OpenMetrics 1.0. */
import {
  Counter,
  Gauge,
  Histogram,
  type Metric as Known,
  type LabelValues,
  Registry,
  type RegistryContentType,
  Summary,
} from 'prom-client';
import { createdOf, type Metric, type Scrape, unitOf } from './metric.ts';
import { type Exemplar, escaped, type Samples } from './samples.ts';

export type Format = 'text' | 'openmetrics';

export const CONTENT_TYPE: Readonly<Record<Format, RegistryContentType>> = {
  text: Registry.PROMETHEUS_CONTENT_TYPE,
  openmetrics: Registry.OPENMETRICS_CONTENT_TYPE,
};

const CLASSES: Readonly<Record<Metric['type'], new (config: Config) => Known>> = {
  counter: Counter,
  gauge: Gauge,
  histogram: Histogram,
  summary: Summary,
};

interface Config {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  readonly registers: [];
}

/** A sample as prom-client writes it. */
interface Value {
  /** Undefined if it is the name of the metric. */
  readonly metricName: string | undefined;
  readonly labels: LabelValues<string>;
  readonly value: number;
  readonly exemplar:
    | {
        readonly labelSet: LabelValues<string>;
        readonly value: number;
        /** Seconds since 1970. */
        readonly timestamp: number;
      }
    | undefined;
}

/**
 * Writes one part of a document. The state of the agent is read before the first wait. The registry is
 * used for this part only: a registry that is reused drops `_total` after it was written as OpenMetrics.
 * Metrics are written one by one, to add their units, and because a whole registry ends the document.
 */
export async function writeMetrics(
  metrics: readonly Metric[],
  scrape: Scrape,
  format: Format,
): Promise<string> {
  const registry = new Registry<RegistryContentType>();
  registry.setContentType(CONTENT_TYPE[format]);
  const texts = await Promise.all(
    metrics.map(async (metric) => {
      const reading = new Reading(metric);
      await metric.collect(scrape, reading);
      registry.registerMetric(reading.in(format));
      const created =
        metric.fromFirstUse && format === 'openmetrics' ? createdOf(metric, scrape) : undefined;
      const createdLines = created === undefined ? '' : reading.createdLines(created);
      return `${unitLine(metric, format)}${await registry.getSingleMetricAsString(metric.name)}\n${createdLines}`;
    }),
  );
  return texts.join('');
}

/** The samples of one metric. */
class Reading implements Samples {
  readonly #metric: Metric;
  readonly #values: Value[] = [];

  constructor(metric: Metric) {
    this.#metric = metric;
  }

  /**
   * Lines that say since when each series counts. prom-client would end those of a counter in _total.
   * @param created seconds since 1970
   */
  createdLines(created: number): string {
    const { name, type, labels: names } = this.#metric;
    const family = type === 'counter' ? name.replace(/_total$/, '') : name;
    const lines = this.#values.map(({ labels }) => {
      const own = names.map((label) => `${label}="${escaped(`${labels[label]}`)}"`);
      return `${family}_created{${own.join(',')}} ${created}\n`;
    });
    return [...new Set(lines)].join('');
  }

  show(value: number, labels: readonly string[] = [], exemplar?: Exemplar): void {
    this.#take(undefined, value, this.#metric.labels, labels, exemplar);
  }

  part(
    suffix: '_bucket' | '_sum' | '_count',
    value: number,
    labels: readonly string[] = [],
    exemplar?: Exemplar,
  ): void {
    const { name, labels: own } = this.#metric;
    this.#take(name + suffix, value, suffix === '_bucket' ? [...own, 'le'] : own, labels, exemplar);
  }

  /** A metric of prom-client with these values, which cannot be set all at once through its class. */
  in(format: Format): Known {
    const { name, help, type, labels } = this.#metric;
    const metric = new CLASSES[type]({ name, help, labelNames: labels, registers: [] });
    const family = familyOf(this.#metric, format);
    const get = async () => ({ name: family, help, type, values: this.#values });
    // prom-client prefers the second one, which only histograms have.
    return Object.assign(metric, { get, getForPromString: get });
  }

  #take(
    metricName: string | undefined,
    value: number,
    names: readonly string[],
    texts: readonly string[],
    exemplar: Exemplar | undefined,
  ): void {
    const labels = Object.fromEntries(names.map((name, i) => [name, texts[i]]));
    const shown = exemplar && {
      labelSet: { trace_id: exemplar.traceId },
      value: exemplar.value,
      timestamp: Math.round(exemplar.at * 1000) / 1000,
    };
    this.#values.push({ metricName, labels, value, exemplar: shown });
  }
}

/** The line with the unit, which prom-client does not write. */
function unitLine(metric: Metric, format: Format): string {
  const unit = unitOf(metric);
  return unit && format === 'openmetrics' ? `# UNIT ${familyOf(metric, format)} ${unit}\n` : '';
}

function familyOf({ name, type }: Metric, format: Format): string {
  return format === 'openmetrics' && type === 'counter' ? name.replace(/_total$/, '') : name;
}
