/** Sets up OpenTelemetry's SDK as its variables say. Loaded only when something is sent. */
import {
  type Attributes,
  createNoopLogger,
  createNoopMeter,
  DiagLogLevel,
  diag,
  type MeterProvider,
} from '@opentelemetry/api';
import { setGlobalErrorHandler } from '@opentelemetry/core';
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  type Sampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { Logger } from 'pino';
import { plainLine } from '../../src/plain.ts';
import { ChosenIds } from '../../src/telemetry/chosen-ids.ts';
import type { ExportCounts, Signal } from '../../src/telemetry/export-counts.ts';
import { SCHEMA_URL } from '../../src/telemetry/schema-url.ts';
import { TraceOutput } from '../../src/telemetry/trace-output.ts';
import { LifecycleTraces } from '../../src/telemetry/traces.ts';
import type { OtelSettings } from '../config/otel.ts';
import { redactor } from '../config/secrets.ts';
import { VERSION } from '../version.ts';
import type { Exporting, Target, Targets } from './export-types.ts';
import { MetricExport } from './metric-export.ts';
import { agentResource } from './resource.ts';

export interface ExportingOptions {
  readonly settings: OtelSettings;
  readonly targets: Targets;
  readonly counts: ExportCounts;
  readonly log: Logger;
}

export async function createExporting(options: ExportingOptions): Promise<Exporting> {
  const { settings, targets, counts, log } = options;
  let lastError: string | undefined;
  const redact = redactor(settings);
  const shown = (error: unknown) => plainLine(redact(errorText(error)));
  setGlobalErrorHandler((error) => {
    lastError = shown(error);
  });
  let isSetUp = false;
  const logSdk = (text: string, ...more: unknown[]) =>
    // Later failures are counted, and reported with the counts.
    log[isSetUp ? 'debug' : 'warn'](
      { event: 'otlp.sdk' },
      plainLine(redact([text, ...more].join(' '))),
    );
  const ignore = () => {};
  diag.setLogger(
    { error: logSdk, warn: logSdk, info: ignore, debug: ignore, verbose: ignore },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
  const resource = agentResource();
  const chosen = new ChosenIds();
  const limits = {
    attributeCountLimit: numberOf(settings, 'OTEL_ATTRIBUTE_COUNT_LIMIT'),
    attributeValueLengthLimit: numberOf(settings, 'OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT'),
  };
  const tracers = new TracerProvider({
    resource,
    sampler: samplerOf(settings),
    spanLimits: {
      ...given(limits),
      ...given({ linkCountLimit: numberOf(settings, 'OTEL_SPAN_LINK_COUNT_LIMIT') }),
    },
    idGenerator: chosen,
    spanProcessors: targets.traces
      ? [
          new BatchSpanProcessor({
            exporter: await spanExporter(targets.traces),
            selfObsMeterProvider: countedBy(counts, 'traces'),
            ...batchOptions(settings, 'OTEL_BSP'),
          }),
        ]
      : [],
  });
  const loggers =
    targets.logs &&
    new LoggerProvider({
      resource,
      logRecordLimits: given(limits),
      processors: [
        new BatchLogRecordProcessor({
          exporter: await logExporter(targets.logs),
          selfObsMeterProvider: countedBy(counts, 'logs'),
          ...batchOptions(settings, 'OTEL_BLRP'),
        }),
      ],
    });
  const scope = { name: 'vfioscope', version: VERSION, schemaUrl: SCHEMA_URL };
  const metrics =
    targets.metrics &&
    new MetricExport({
      ...{ resource, scope, counts, exporter: await metricExporter(targets.metrics) },
      interval: numberOf(settings, 'OTEL_METRIC_EXPORT_INTERVAL'),
      timeout: numberOf(settings, 'OTEL_METRIC_EXPORT_TIMEOUT'),
    });
  isSetUp = true;
  return {
    lastError: () => lastError,
    follow({ world, ids, wallOffset }) {
      const { name, version, schemaUrl } = scope;
      const tracer = tracers.getTracer(name, version, { schemaUrl });
      const logger = loggers?.getLogger(name, version, { schemaUrl }) ?? createNoopLogger();
      const output = new TraceOutput({ wallOffset, tracer, chosen, logger });
      return new LifecycleTraces({ world, ids, output });
    },
    measure: (reader) => metrics?.start(reader),
    async shutdown() {
      const ends = await Promise.allSettled([
        tracers.shutdown(),
        loggers?.shutdown(),
        metrics?.end(),
      ]);
      const failed = ends.find((end) => end.status === 'rejected');
      if (!failed) return;
      lastError = shown(failed.reason);
      throw failed.reason;
    },
  };
}

/** The SDK's exporters read the variables of OTLP themselves. */
async function spanExporter({ protocol }: Target) {
  const { OTLPTraceExporter } =
    protocol === 'grpc'
      ? await import('@opentelemetry/exporter-trace-otlp-grpc')
      : await import('@opentelemetry/exporter-trace-otlp-proto');
  return new OTLPTraceExporter();
}

async function logExporter({ protocol }: Target) {
  const { OTLPLogExporter } =
    protocol === 'grpc'
      ? await import('@opentelemetry/exporter-logs-otlp-grpc')
      : await import('@opentelemetry/exporter-logs-otlp-proto');
  return new OTLPLogExporter();
}

async function metricExporter({ protocol }: Target) {
  const { OTLPMetricExporter } =
    protocol === 'grpc'
      ? await import('@opentelemetry/exporter-metrics-otlp-grpc')
      : await import('@opentelemetry/exporter-metrics-otlp-proto');
  return new OTLPMetricExporter();
}

/** No trace has a remote parent, so the samplers that depend on one behave like those without. */
function samplerOf(settings: OtelSettings): Sampler {
  switch (settings.OTEL_TRACES_SAMPLER?.replace('parentbased_', '')) {
    case 'always_off':
      return new AlwaysOffSampler();
    case 'traceidratio':
      return new TraceIdRatioBasedSampler(numberOf(settings, 'OTEL_TRACES_SAMPLER_ARG') ?? 1);
    default:
      return new AlwaysOnSampler();
  }
}

function batchOptions(settings: OtelSettings, prefix: 'OTEL_BSP' | 'OTEL_BLRP') {
  return given({
    scheduledDelayMillis: numberOf(settings, `${prefix}_SCHEDULE_DELAY`),
    exportTimeoutMillis: numberOf(settings, `${prefix}_EXPORT_TIMEOUT`),
    maxQueueSize: numberOf(settings, `${prefix}_MAX_QUEUE_SIZE`),
    maxExportBatchSize: numberOf(settings, `${prefix}_MAX_EXPORT_BATCH_SIZE`),
  });
}

function numberOf(settings: OtelSettings, name: string): number | undefined {
  return settings[name] === undefined ? undefined : Number(settings[name]);
}

/** Removes undefined values, which the SDK would not replace by its defaults. */
function given<T extends object>(options: T): { [Key in keyof T]?: NonNullable<T[Key]> } {
  const all = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(all) as { [Key in keyof T]?: NonNullable<T[Key]> };
}

/** Counts what a batch processor reports about itself. */
function countedBy(counts: ExportCounts, signal: Signal): MeterProvider {
  const add = (count: number, attributes: Attributes = {}) => {
    const error = attributes['error.type'];
    const outcome = error === undefined ? 'sent' : error === 'queue_full' ? error : 'failed';
    counts.add(signal, outcome, count);
  };
  const noop = createNoopMeter();
  const meter = Object.assign(Object.create(noop) as typeof noop, {
    createCounter: (name: string) =>
      name.endsWith('.processed') ? { add } : noop.createCounter(name),
  });
  return { getMeter: () => meter };
}

function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message, cause } = error;
  // After several addresses were tried, each has an error of its own.
  const inner = error instanceof AggregateError ? error.errors : cause ? [cause] : [];
  return [message, ...inner.map(errorText)]
    .filter((text) => text !== '')
    .join(': ')
    .replace(/\s+/g, ' ');
}
