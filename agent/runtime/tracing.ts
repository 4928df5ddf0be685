/**
 * Sends traces and log records to an OpenTelemetry collector when its variables name one;
 * otherwise nothing of OpenTelemetry is loaded.
 */
import type { Logger } from 'pino';
import type { World } from '../../src/lifecycle/world.ts';
import { ExportCounts, SIGNALS, type Signal } from '../../src/telemetry/export-counts.ts';
import type { LifeIds } from '../../src/telemetry/life-ids.ts';
import type { LifeTraces } from '../../src/telemetry/traces.ts';
import { type OtelSettings, otelSettings } from '../config/otel.ts';

/** One warning about what could not be sent per so many ms. */
const WARNING_MS = 60_000;
/** How long the agent's end may wait for the collector, ms. */
const STOP_MS = 5000;

/** Where it goes, by signal; undefined where it goes nowhere. */
export type Targets = Readonly<Record<Signal, Target | undefined>>;

export interface Target {
  readonly endpoint: string;
  readonly protocol: string;
}

export interface Followed {
  readonly world: World;
  readonly ids: LifeIds;
  /** ns from the boot-time clock to 1970 */
  readonly wallOffset: () => number;
}

/** The part that knows OpenTelemetry; see exporting.ts. */
export interface Exporting {
  follow(followed: Followed): LifeTraces;
  /** The latest error, in words. */
  lastError(): string | undefined;
  /** Sends what waits. @throws when it could not */
  shutdown(): Promise<void>;
}

export class Tracing {
  readonly counts: ExportCounts;
  readonly #exporting: Exporting;
  readonly #log: Logger;
  readonly #told: Record<Signal, number> = { traces: 0, logs: 0 };
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(exporting: Exporting, counts: ExportCounts, log: Logger) {
    this.#exporting = exporting;
    this.counts = counts;
    this.#log = log;
  }

  follow(followed: Followed): LifeTraces {
    return this.#exporting.follow(followed);
  }

  /** Says what will not arrive, at most once a minute. */
  tell(now = performance.now()): void {
    if (now - this.#toldAt < WARNING_MS) return;
    const lost = SIGNALS.map((signal) => this.counts.dropped(signal) - this.#told[signal]);
    const [spans, records] = lost;
    if (spans + records === 0) return;
    this.#toldAt = now;
    for (const signal of SIGNALS) this.#told[signal] = this.counts.dropped(signal);
    const error = this.#exporting.lastError();
    this.#log.warn(
      { event: 'otlp.dropped', spans, records, error },
      `${spans} spans and ${records} log records were not sent to the collector` +
        `${error ? `: ${error}` : ''}. Nothing else is affected; vfioscope_otlp_items_total counts them.`,
    );
  }

  /** @returns whether all is done; else something still waits for the collector */
  async stop(): Promise<boolean> {
    const isDone = await Promise.race([
      this.#exporting.shutdown().then(
        () => true,
        () => true,
      ),
      new Promise<boolean>((resolve) => setTimeout(resolve, STOP_MS, false).unref()),
    ]);
    this.tell(Number.POSITIVE_INFINITY);
    if (!isDone) {
      this.#log.warn(
        { event: 'otlp.cut_off', error: this.#exporting.lastError() },
        `the collector took no more within ${STOP_MS / 1000} s: what waited is lost`,
      );
    }
    return isDone;
  }
}

/** @returns undefined where nothing is to be sent */
export async function startTracing(
  log: Logger,
  file: Readonly<Record<string, unknown>>,
): Promise<Tracing | undefined> {
  const { env } = process;
  const { settings, ignored } = otelSettings(file, env);
  const targets = targetsOf(settings);
  for (const { name, message } of ignored) {
    // The SDK reads the environment itself.
    delete env[name];
    log.warn({ event: 'otlp.setting_ignored', name }, `${name} ${message}; it is ignored`);
  }
  if (!targets.traces && !targets.logs) return undefined;
  Object.assign(env, settings);
  const counts = new ExportCounts();
  const { createExporting } = await import('./exporting.ts');
  const exporting = await createExporting({ settings, targets, counts, log });
  for (const signal of SIGNALS) {
    const target = targets[signal];
    if (!target) continue;
    const { endpoint, protocol } = target;
    // A name and a password may be in it.
    const shown = endpoint.replace(/\/\/[^/@]*@/, '//');
    log.info(
      { event: 'otlp.on', signal, endpoint: shown, protocol },
      `sending ${signal} to ${shown} (${protocol})`,
    );
  }
  return new Tracing(exporting, counts, log);
}

export function targetsOf(settings: OtelSettings): Targets {
  const target = (signal: Signal): Target | undefined => {
    const of = (end: string) =>
      settings[`OTEL_EXPORTER_OTLP_${signal.toUpperCase()}_${end}`] ??
      settings[`OTEL_EXPORTER_OTLP_${end}`];
    const exporter = settings[`OTEL_${signal.toUpperCase()}_EXPORTER`];
    const protocol = of('PROTOCOL') ?? 'http/protobuf';
    const usual = `http://localhost:${protocol === 'grpc' ? 4317 : 4318}`;
    const endpoint = of('ENDPOINT') ?? (exporter === 'otlp' ? usual : undefined);
    const isOff = settings.OTEL_SDK_DISABLED === 'true' || exporter === 'none';
    return isOff || !endpoint ? undefined : { endpoint, protocol };
  };
  return { traces: target('traces'), logs: target('logs') };
}
