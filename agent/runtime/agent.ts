/** The running agent: probes feed the pipeline, the pipeline feeds log, metrics, traces and API. */
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { PciFunctions } from '../../src/engine/pci-functions.ts';
import { runOf } from '../../src/engine/run.ts';
import { VmIdentities } from '../../src/engine/vm-identities.ts';
import { messageOf } from '../../src/errors.ts';
import type { ServerSource } from '../../src/http/server.ts';
import { Views } from '../../src/http/views.ts';
import { liveHost } from '../../src/kernel/host.ts';
import { type OpenKernelLog, openKernelLog } from '../../src/kernel/kernel-log.ts';
import { bootId, bootTime } from '../../src/kernel/os.ts';
import type { World } from '../../src/lifecycle/world.ts';
import { plainLine } from '../../src/plain.ts';
import { InternalErrors } from '../../src/telemetry/internal-errors.ts';
import { LifecycleLog } from '../../src/telemetry/lifecycle-log.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import type { ProbeLog } from '../../src/telemetry/probe-log.ts';
import { SECOND } from '../../src/units.ts';
import type { Config } from '../config/schema.ts';
import { AgentLog } from './agent-log.ts';
import { CriticalStore } from './critical-store.ts';
import { Criticals } from './criticals.ts';
import { IngestState } from './ingest-state.ts';
import type { LiveSource } from './live.ts';
import type { OtlpExport } from './otlp-export.ts';
import { logPinning } from './pinning.ts';
import { Pipeline } from './pipeline.ts';
import { engineOptions } from './rule-options.ts';
import { metricsSource, serverSource } from './served.ts';
import { WallClock } from './wall-clock.ts';

const TICK_MS = 1000;

export interface AgentOptions {
  readonly config: Config;
  /** Has its probes attached, and is not started yet. */
  readonly source: LiveSource;
  readonly log: Logger;
  readonly probeLog: ProbeLog;
  /** Log lines that could not be written, or were not read in time. */
  readonly logLinesDropped: () => number;
  /** Undefined where no collector is configured. */
  readonly otlp: OtlpExport | undefined;
  readonly version: string;
}

export class Agent {
  readonly #log: Logger;
  readonly #config: Config;
  readonly #source: LiveSource;
  readonly #otlp: OtlpExport | undefined;
  readonly #pipeline: Pipeline;
  readonly #served: ServerSource;
  readonly #clock = new WallClock();
  readonly #kernelLog: OpenKernelLog | undefined;
  #server: FastifyInstance | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: AgentOptions) {
    const { config, source, log, probeLog, logLinesDropped, otlp, version } = options;
    this.#config = config;
    this.#log = log;
    this.#source = source;
    this.#otlp = otlp;
    logPinning(log, source.pinned, config);
    const clock = this.#clock;
    const boot = bootId();
    const state = new IngestState({
      bootId: boot,
      endedObjects: config.retention.ended,
      maxSpanAge: config.traces.max_span_age_seconds * SECOND,
      dropped: () => source.dropped(),
      resumeAt: source.account()?.next() ?? [],
    });
    const kernelLog = config.kernel_log.enabled ? this.#openKernelLog(state.world) : undefined;
    this.#kernelLog = kernelLog;
    const host = liveHost({
      traits: () => source.traits.values,
      kernelLog: kernelLog?.log,
      readsCommandLine: config.vm.read_command_line,
    });
    const { world, ids } = state;
    const lifecycleLog = new LifecycleLog(log, ids, clock.offset);
    const views = new Views(world, clock.offset, host, ids, bootTime);
    const criticals = new Criticals({
      ...{ log, store: new CriticalStore(config.state.directory, boot) },
      view: (violation) => views.violation(violation),
      now: () => clock.sinceEpoch(bootTime()),
    });
    criticals.load();
    const internalErrors = new InternalErrors();
    const metrics = new Metrics(
      metricsSource({
        ...{ version, source, host, state, clock, logLinesDropped },
        pipeline: () => this.#pipeline,
        logLinesSuppressed: lifecycleLog.suppressed,
        kernelLogSkipped: () => kernelLog?.log.skipped ?? 0,
        exported: otlp?.counts,
        ...{ internalErrors, criticals },
      }),
      {
        perDevice: config.metrics.per_device,
        maxDevices: config.metrics.max_devices,
        process: config.metrics.process,
      },
    );
    const traces = otlp?.follow({ world, ids, wallOffset: clock.offset });
    otlp?.measure({
      read: () => metrics.read(),
      failed: (error) => {
        internalErrors.count('otlp', clock.sinceEpoch(bootTime()));
        log.error(
          { event: 'otlp.failed', error },
          `the metrics for the collector could not be read: ${plainLine(messageOf(error))}. This is a bug: please report it.`,
        );
      },
    });
    const agentLog = new AgentLog(log, { world, ringBytes: source.ring().bytes });
    const identities = new VmIdentities(host, (vm) => lifecycleLog.identified(vm));
    this.#pipeline = new Pipeline(state, {
      rules: {
        ...engineOptions(config, host),
        run: runOf(boot, bootTime()),
        hasMissed: () => source.hasMissed(),
      },
      sinks: [
        ...[
          identities,
          new PciFunctions(host),
          probeLog,
          agentLog,
          criticals,
          metrics,
          lifecycleLog,
        ],
        ...(traces ? [traces] : []),
      ],
    });
    const pipeline = this.#pipeline;
    this.#served = serverSource({
      ...{ version, source, host, pipeline, views, metrics, log, internalErrors, criticals },
      now: () => clock.sinceEpoch(bootTime()),
    });
  }

  /** Begins to read events and to listen. @throws when the address is not available */
  async start(): Promise<void> {
    const stale = this.#source.start(this.#pipeline);
    if (stale > 0) {
      this.#log.info(
        { event: 'probes.stale_removed', stale },
        `removed ${stale} stale kprobe definitions left by a killed agent`,
      );
    }
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    const { host, port } = splitAddress(this.#config.listen);
    // The largest module to load; events do not wait for it.
    const { createServer } = await import('../../src/http/server.ts');
    this.#server = createServer(this.#served);
    const url = await this.#server.listen({ host, port });
    this.#log.info({ event: 'agent.listening', url }, `listening on ${url}`);
  }

  /** @returns whether all spans, log records and metrics were sent or dropped; false when a request is pending */
  async stop(): Promise<boolean> {
    clearInterval(this.#timer);
    await this.#server?.close();
    await this.#source.stop();
    await this.#pipeline.end();
    this.#kernelLog?.close();
    const isExported = (await this.#otlp?.stop()) ?? true;
    // Last, because counters are read from memory that is shared with the kernel.
    this.#source.close();
    return isExported;
  }

  /** The kernel's log, of which lines about tracked devices are kept; undefined where it must not be read. */
  #openKernelLog(world: World): OpenKernelLog | undefined {
    const { devices, parents } = world;
    const opened = openKernelLog(
      (name) => devices.named(name) !== undefined || parents.named(name) !== undefined,
    );
    if (typeof opened !== 'string') return opened;
    this.#log.info(
      { event: 'kernel_log.unavailable', reason: opened },
      `violations have no lines of the kernel log: ${opened}`,
    );
    return undefined;
  }

  #tick(): void {
    this.#clock.update();
    this.#kernelLog?.log.read();
    this.#pipeline.tick(bootTime());
    this.#otlp?.warn();
  }
}

/** @param address "host:port", with brackets around an IPv6 address */
export function splitAddress(address: string): { readonly host: string; readonly port: number } {
  const colon = address.lastIndexOf(':');
  return {
    host: address.slice(0, colon).replace(/^\[|\]$/g, ''),
    port: Number(address.slice(colon + 1)),
  };
}
