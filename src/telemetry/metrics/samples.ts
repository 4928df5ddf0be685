/** What a metric writes its values to. */

/** Receives the samples of one metric. */
export interface Samples {
  /** @param labels values, in the order of the metric's labels */
  show(value: number, labels?: readonly string[], exemplar?: Exemplar): void;
  /** One series of a histogram or summary; for a bucket the last label is its bound. */
  part(
    suffix: '_bucket' | '_sum' | '_count',
    value: number,
    labels?: readonly string[],
    exemplar?: Exemplar,
  ): void;
}

/** Receives the samples of one metric that has series for single objects. */
export interface ObjectSamples {
  /** @param labels values, in the order of the metric's labels */
  show(value: number, labels: readonly string[]): void;
  /**
   * A series of a single object.
   * @param subject its first label, as whoever collects the samples has written it
   * @param others values of the labels after that
   */
  about(subject: string, value: number, others?: readonly string[]): void;
}

/** An observation with the trace that it belongs to; only OpenMetrics shows it. */
export interface Exemplar {
  readonly traceId: string;
  readonly value: number;
  /** Seconds since 1970. */
  readonly at: number;
}

/** The upper bound of the bucket that has all observations. */
export const INFINITE = '+Inf';

/** The upper bound of a bucket as Prometheus 3 and OpenMetrics write it: another text would be another series. */
export function boundText(bound: number): string {
  if (!Number.isFinite(bound)) return INFINITE;
  return bound % 1 === 0 ? `${bound}.0` : `${bound}`;
}

const SPECIAL = /["\\\n]/;

/** The value of a label as it stands between quotes. */
export function escaped(value: string): string {
  if (!SPECIAL.test(value)) return value;
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
