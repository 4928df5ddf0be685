/** What otlp-export.ts and the part of it that uses OpenTelemetry's packages, exporting.ts, agree on. */
import type { World } from '../../src/lifecycle/world.ts';
import type { Signal } from '../../src/telemetry/export-counts.ts';
import type { MetricsReading } from '../../src/telemetry/metrics/metric.ts';
import type { TraceIds } from '../../src/telemetry/trace-ids.ts';
import type { LifecycleTraces } from '../../src/telemetry/traces.ts';

/** Where items are sent, by signal; undefined where they are not sent. */
export type Targets = Readonly<Record<Signal, Target | undefined>>;

export interface Target {
  readonly endpoint: string;
  readonly protocol: string;
}

export interface Followed {
  readonly world: World;
  readonly ids: TraceIds;
  /** ns from the boot-time clock to 1970, at a time on the boot-time clock */
  readonly wallOffset: (at: number) => number;
}

/** The metrics of a running agent. */
export interface MetricsReader {
  /** @returns undefined when there is nothing to read any more */
  read(): MetricsReading | undefined;
  /** What was read has values that cannot be computed, which is a bug. */
  failed(error: unknown): void;
}

/** The part that uses OpenTelemetry's packages; see exporting.ts. */
export interface Exporting {
  follow(followed: Followed): LifecycleTraces;
  /** Begins to send the metrics, where they are sent. */
  measure(metrics: MetricsReader): void;
  /** The latest error, as text. */
  lastError(): string | undefined;
  /** Sends queued items. @throws when that fails */
  shutdown(): Promise<void>;
}
