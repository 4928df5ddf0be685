/** What the HTTP server and the metrics read from a running agent. */
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { isWatched, type PointStatus } from '../../src/events/source.ts';
import type { ServerSource } from '../../src/http/server.ts';
import type { Views } from '../../src/http/views.ts';
import type { LiveHost } from '../../src/kernel/host.ts';
import { readKernelModules, whoHolds } from '../../src/kernel/kernel-modules.ts';
import { bootTime } from '../../src/kernel/os.ts';
import { plain, plainLine } from '../../src/plain.ts';
import type { ExportCounts } from '../../src/telemetry/export-counts.ts';
import type { InternalErrors } from '../../src/telemetry/internal-errors.ts';
import type { MetricsSource } from '../../src/telemetry/metrics/source.ts';
import type { Metrics } from '../../src/telemetry/metrics.ts';
import { SECOND } from '../../src/units.ts';
import type { Criticals } from './criticals.ts';
import type { IngestState } from './ingest-state.ts';
import type { LiveSource } from './live.ts';
import type { Pipeline } from './pipeline.ts';
import type { WallClock } from './wall-clock.ts';

/** ns. A driver is not asked again for its available instances while its last answer is younger. */
const INSTANCES_FRESH = 60 * SECOND;

/** Beside the bundle that has this module. */
const DOCUMENTS = fileURLToPath(new URL('../docs', import.meta.url));

/** ns. What the API says of holders is not older, unless reading files takes long on this host. */
const HOLDERS_FRESH = 5 * SECOND;

export interface MetricsParts {
  readonly version: string;
  readonly source: LiveSource;
  readonly host: LiveHost;
  readonly state: IngestState;
  readonly clock: WallClock;
  /** Is asked at scrapes only, because the metrics are a sink of the pipeline and made before it. */
  readonly pipeline: () => Pipeline;
  readonly logLinesDropped: () => number;
  /** By rule. */
  readonly logLinesSuppressed: ReadonlyMap<string, number>;
  readonly kernelLogSkipped: () => number;
  readonly exported: ExportCounts | undefined;
  readonly internalErrors: InternalErrors;
  readonly criticals: Criticals;
}

export function metricsSource(parts: MetricsParts): MetricsSource {
  const { version, source, host, state, clock, pipeline } = parts;
  const { world, sequence, losses, ids } = state;
  const { logLinesDropped, logLinesSuppressed, kernelLogSkipped, exported } = parts;
  const { internalErrors, criticals } = parts;
  return {
    version,
    world,
    get rules() {
      return pipeline().rules;
    },
    lost: losses,
    sinceEpoch: clock.sinceEpoch,
    now: bootTime,
    sequenceGaps: () => sequence.byCpu(),
    cpuCounters: () => source.cpuCounters(),
    ring: () => source.ring(),
    pinned: () => source.account(),
    probes: () => source.points(),
    ruleStates: () => pipeline().ruleStates(source.points()),
    costs: () => source.costs(),
    availableInstances: (parent) => host.latestInstances(parent, bootTime() - INSTANCES_FRESH),
    logLinesDropped,
    logLinesSuppressed,
    kernelLogSkipped,
    exported,
    internalErrors,
    criticals: criticals.series,
    criticalsDropped: () => criticals.dropped,
    traceIdOf: ids.traceIdOf,
  };
}

export interface ServerParts {
  readonly version: string;
  readonly host: LiveHost;
  readonly source: LiveSource;
  readonly pipeline: Pipeline;
  readonly views: Views;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly internalErrors: InternalErrors;
  readonly criticals: Criticals;
  /** Seconds since 1970. */
  readonly now: () => number;
}

export function serverSource(parts: ServerParts): ServerSource {
  const { version, source, pipeline, views, metrics, log, internalErrors, now } = parts;
  const { state, rules } = pipeline;
  const probes = () => source.points();
  return {
    ...{ world: state.world, rules, views, metrics, version, probes },
    ruleStates: () => pipeline.ruleStates(probes()),
    traits: () => source.traits.derived,
    modules: () =>
      readKernelModules()
        .filter(({ loaded }) => loaded)
        .map((module) => ({ ...module, held: whoHolds(module), heldByUs: false })),
    notReady: () => notReady(probes(), source.shortage),
    losses: () => ({ ...state.losses, last: views.time(state.lastLossAt) }),
    earlierCriticals: parts.criticals.earlier,
    documents: DOCUMENTS,
    readHolders: () => parts.host.readFileOwners(bootTime() - HOLDERS_FRESH),
    failed: (path, error) => {
      internalErrors.count('http', now());
      log.error(
        { event: 'http.failed', path: plain(path), error },
        `the response to ${plain(path)} failed: ${plainLine(error.message)}. This is a bug: please report it.`,
      );
    },
  };
}

/**
 * Why the agent does not watch what it could, in words.
 * @param shortage why points of a loaded module are not watched for now
 */
export function notReady(
  points: readonly Pick<PointStatus, 'module' | 'state' | 'reason'>[],
  shortage: string | undefined,
): string | undefined {
  if (!points.some(isWatched)) {
    const [first] = points;
    return `no point is attached: ${first?.reason ?? 'none is known'}`;
  }
  for (const module of new Set(points.map((point) => point.module))) {
    const own = points.filter((point) => point.module === module);
    const failed = own.find(({ state }) => state === 'failed');
    if (failed && !own.some(isWatched)) {
      return `the module ${module} is loaded, and none of its points is attached: ${failed.reason}`;
    }
  }
  return shortage && `some points are not attached yet and will be tried again: ${shortage}`;
}
