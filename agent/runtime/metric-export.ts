/** Sends the metrics to a collector, at intervals, and counts what has become of their points. */

import {
  type ExportResult,
  ExportResultCode,
  globalErrorHandler,
  type InstrumentationScope,
} from '@opentelemetry/core';
import type { Resource } from '@opentelemetry/resources';
import {
  type CollectionResult,
  MeterProvider,
  type MetricData,
  type MetricProducer,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
  type ResourceMetrics,
} from '@opentelemetry/sdk-metrics';
import type { ExportCounts } from '../../src/telemetry/export-counts.ts';
import { metricData } from '../../src/telemetry/metrics/otlp.ts';
import type { MetricsReader } from './export-types.ts';

/** Points of one request. Most take 200 bytes, few a KiB; collectors accept 4 MiB over gRPC by default. */
const MOST_POINTS = 2000;
/** Defaults of OpenTelemetry's specification, ms. */
const INTERVAL = 60_000;
const TIMEOUT = 30_000;

export interface MetricExportOptions {
  readonly exporter: PushMetricExporter;
  readonly resource: Resource;
  readonly scope: InstrumentationScope;
  readonly counts: ExportCounts;
  /** ms; undefined for the defaults. */
  readonly interval: number | undefined;
  readonly timeout: number | undefined;
}

/**
 * Between the metrics and the SDK: to its reader a producer and an exporter. The points of one reading are in
 * memory at a time, of which a request that has not ended keeps those that it sends.
 */
export class MetricExport implements MetricProducer, PushMetricExporter {
  readonly #options: MetricExportOptions;
  #metrics: MetricsReader | undefined;
  #provider: MeterProvider | undefined;
  /** Points that were read and not given to a request. */
  #waiting = 0;
  #isSending = false;

  constructor(options: MetricExportOptions) {
    this.#options = options;
  }

  /** Begins to send; the first time after one interval. */
  start(metrics: MetricsReader): void {
    const { resource, interval = INTERVAL, timeout = TIMEOUT } = this.#options;
    this.#metrics = metrics;
    const reader = new PeriodicExportingMetricReader({
      exporter: this,
      metricProducers: [this],
      exportIntervalMillis: interval,
      // The SDK refuses a longer one.
      exportTimeoutMillis: Math.min(timeout, interval),
      maxExportBatchSize: MOST_POINTS,
    });
    this.#provider = new MeterProvider({ resource, readers: [reader] });
  }

  async collect(): Promise<CollectionResult> {
    const { resource, scope } = this.#options;
    this.#dropWaiting();
    const metrics = await this.#read();
    this.#waiting = pointsOf(metrics);
    const scopeMetrics = metrics.length > 0 ? [{ scope, metrics }] : [];
    return { resourceMetrics: { resource, scopeMetrics }, errors: [] };
  }

  export(metrics: ResourceMetrics, done: (result: ExportResult) => void): void {
    const { exporter, counts } = this.#options;
    const points = pointsOf(metrics.scopeMetrics.flatMap((scope) => scope.metrics));
    this.#waiting -= points;
    // The reader has given up a request of which the exporter has not.
    if (this.#isSending) {
      counts.add('metrics', 'queue_full', points);
      done({ code: ExportResultCode.SUCCESS });
      return;
    }
    this.#isSending = true;
    exporter.export(metrics, ({ code, error }) => {
      this.#isSending = false;
      const isSent = code === ExportResultCode.SUCCESS;
      counts.add('metrics', isSent ? 'sent' : 'failed', points);
      if (error) globalErrorHandler(error);
      // The reader would report the failure again, without its cause.
      done({ code: ExportResultCode.SUCCESS });
    });
  }

  forceFlush(): Promise<void> {
    return this.#options.exporter.forceFlush();
  }

  /** Called by {@link end}, through the reader. */
  shutdown(): Promise<void> {
    return this.#options.exporter.shutdown();
  }

  /** Sends the metrics a last time. */
  async end(): Promise<void> {
    await this.#provider?.shutdown();
    this.#dropWaiting();
  }

  async #read(): Promise<MetricData[]> {
    try {
      const reading = this.#metrics?.read();
      return reading ? await metricData(reading) : [];
    } catch (error) {
      this.#metrics?.failed(error);
      return [];
    }
  }

  /** After a request that took too long, the reader does not try the others of that reading. */
  #dropWaiting(): void {
    if (this.#waiting > 0) this.#options.counts.add('metrics', 'failed', this.#waiting);
    this.#waiting = 0;
  }
}

function pointsOf(metrics: readonly MetricData[]): number {
  return metrics.reduce((points, { dataPoints }) => points + dataPoints.length, 0);
}
