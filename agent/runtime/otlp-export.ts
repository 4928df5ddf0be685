/**
 * Sends traces, log records and metrics to an OpenTelemetry collector when the OTEL_ variables name one. Otherwise
 * no package of OpenTelemetry is loaded.
 */
import type { Logger } from 'pino';
import { ExportCounts, SIGNALS, type Signal } from '../../src/telemetry/export-counts.ts';
import type { LifecycleTraces } from '../../src/telemetry/traces.ts';
import { type OtelSettings, otelSettings } from '../config/otel.ts';
import { shownEndpoint } from '../config/secrets.ts';
import type { Exporting, Followed, MetricsReader, Target, Targets } from './export-types.ts';

/** At most one warning about dropped items per so many ms. */
const WARNING_MS = 60_000;
/** How long the agent waits for the collector when it stops, ms. */
const STOP_MS = 5000;

export class OtlpExport {
  readonly counts: ExportCounts;
  readonly #exporting: Exporting;
  readonly #log: Logger;
  readonly #warned: Record<Signal, number> = { traces: 0, logs: 0, metrics: 0 };
  #warnedAt = Number.NEGATIVE_INFINITY;
  #isStopped = false;

  constructor(exporting: Exporting, counts: ExportCounts, log: Logger) {
    this.#exporting = exporting;
    this.counts = counts;
    this.#log = log;
  }

  follow(followed: Followed): LifecycleTraces {
    return this.#exporting.follow(followed);
  }

  /** @param metrics are not read after stop() has ended */
  measure(metrics: MetricsReader): void {
    this.#exporting.measure({
      read: () => (this.#isStopped ? undefined : metrics.read()),
      failed: metrics.failed,
    });
  }

  /** Warns about items that were dropped, at most once a minute. */
  warn(now = performance.now()): void {
    if (now - this.#warnedAt < WARNING_MS) return;
    const lost = SIGNALS.map((signal) => this.counts.dropped(signal) - this.#warned[signal]);
    const [spans, records, points] = lost;
    if (spans + records + points === 0) return;
    this.#warnedAt = now;
    for (const signal of SIGNALS) this.#warned[signal] = this.counts.dropped(signal);
    const error = this.#exporting.lastError();
    this.#log.warn(
      { event: 'otlp.dropped', spans, records, points, error },
      `${spans} spans, ${records} log records and ${points} data points of metrics could not be sent and were dropped` +
        `${error ? `: ${error}` : ''}. /metrics, API and log are not affected; vfioscope_otlp_items_total counts them.`,
    );
  }

  /** @returns whether all items were sent or dropped; false when a request is still pending */
  async stop(): Promise<boolean> {
    const isFlushed = await Promise.race([
      this.#exporting.shutdown().then(
        () => true,
        () => true,
      ),
      new Promise<boolean>((resolve) => setTimeout(resolve, STOP_MS, false).unref()),
    ]);
    this.#isStopped = true;
    this.warn(Number.POSITIVE_INFINITY);
    if (!isFlushed) {
      this.#log.warn(
        { event: 'otlp.shutdown_timeout', error: this.#exporting.lastError() },
        `OTLP shutdown timed out after ${STOP_MS / 1000} s; queued items were dropped`,
      );
    }
    return isFlushed;
  }
}

/** @returns undefined where nothing is sent */
export async function startOtlpExport(
  log: Logger,
  file: Readonly<Record<string, unknown>>,
): Promise<OtlpExport | undefined> {
  const { env } = process;
  const { settings, ignored } = otelSettings(file, env);
  const targets = targetsOf(settings);
  for (const { name, message } of ignored) {
    // The SDK reads the environment itself.
    delete env[name];
    log.warn(
      { event: 'otlp.setting_ignored', name },
      `the environment variable ${name} ${message}; it is ignored`,
    );
  }
  if (SIGNALS.every((signal) => !targets[signal])) return undefined;
  Object.assign(env, settings);
  const counts = new ExportCounts();
  const { createExporting } = await import('./exporting.ts');
  const exporting = await createExporting({ settings, targets, counts, log });
  for (const signal of SIGNALS) {
    const target = targets[signal];
    if (!target) continue;
    const { endpoint, protocol } = target;
    const shown = shownEndpoint(endpoint);
    log.info(
      { event: 'otlp.started', signal, endpoint: shown, protocol },
      `sending ${signal} to the collector at ${shown} (${protocol})`,
    );
  }
  return new OtlpExport(exporting, counts, log);
}

export function targetsOf(settings: OtelSettings): Targets {
  const target = (signal: Signal): Target | undefined => {
    const own = (end: string) => settings[`OTEL_EXPORTER_OTLP_${signal.toUpperCase()}_${end}`];
    const of = (end: string) => own(end) ?? settings[`OTEL_EXPORTER_OTLP_${end}`];
    const exporter = settings[`OTEL_${signal.toUpperCase()}_EXPORTER`];
    const protocol = of('PROTOCOL') ?? 'http/protobuf';
    const usual = `http://localhost:${protocol === 'grpc' ? 4317 : 4318}`;
    const endpoint = of('ENDPOINT') ?? (exporter === 'otlp' ? usual : undefined);
    // Prometheus scrapes the same metrics, so a collector for the others gets them only if they are asked for.
    const isUnasked = signal === 'metrics' && exporter === undefined && !own('ENDPOINT');
    const isOff = settings.OTEL_SDK_DISABLED === 'true' || exporter === 'none' || isUnasked;
    return isOff || !endpoint ? undefined : { endpoint, protocol };
  };
  return { traces: target('traces'), logs: target('logs'), metrics: target('metrics') };
}
