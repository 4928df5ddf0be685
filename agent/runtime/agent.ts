/** The running agent: probes feed the pipeline, the pipeline feeds logs, metrics, traces and API. */
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { PointStatus } from '../../src/events/source.ts';
import type { ServerSource } from '../../src/http/server.ts';
import { Views } from '../../src/http/views.ts';
import { AvailableInstances } from '../../src/kernel/available-instances.ts';
import { liveHost } from '../../src/kernel/host.ts';
import { readKernelModules, whoHolds } from '../../src/kernel/kernel-modules.ts';
import { bootId, bootTime, wallOffset } from '../../src/kernel/os.ts';
import { SECOND } from '../../src/rules/rule.ts';
import { runOf } from '../../src/rules/run.ts';
import { LifeLog } from '../../src/telemetry/life-log.ts';
import { Looks } from '../../src/telemetry/looks.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import type { ProbeLog } from '../../src/telemetry/probe-log.ts';
import type { LifeTraces } from '../../src/telemetry/traces.ts';
import type { Config } from '../config/schema.ts';
import type { LiveSource, LookReport } from './live.ts';
import { tellPinning } from './pinning.ts';
import { Pipeline } from './pipeline.ts';
import { engineOptions } from './rule-options.ts';
import type { Tracing } from './tracing.ts';

/** One warning about lost events per so many ms, with the sum since the last. */
const LOSS_WARNING_MS = 1000;
const FLUSH_MS = 1000;
/** How old may be what a driver said of its free instances before it is asked again, ns. */
const INSTANCES_FRESH = 60 * SECOND;

export interface AgentOptions {
  readonly config: Config;
  /** What is attached, and not read yet. */
  readonly source: LiveSource;
  readonly log: Logger;
  readonly probeLog: ProbeLog;
  /** Lines that nobody read in time. */
  readonly logLinesDropped: () => number;
  /** Undefined where no collector is named. */
  readonly tracing: Tracing | undefined;
  readonly version: string;
}

export class Agent {
  readonly #log: Logger;
  readonly #logLinesDropped: () => number;
  readonly #config: Config;
  readonly #source: LiveSource;
  readonly #pipeline: Pipeline;
  readonly #served: ServerSource;
  #server: FastifyInstance | undefined;
  readonly #tracing: Tracing | undefined;
  readonly #traces: LifeTraces | undefined;
  readonly #lifeLog: LifeLog;
  readonly #views: Views;
  readonly #looks = new Looks();
  readonly #instances = new AvailableInstances();
  #wallOffset = wallOffset();
  #timer: NodeJS.Timeout | undefined;
  #lossWarningAt = 0;
  /** Rules whose failure was told. */
  readonly #mistaken = new Set<string>();
  readonly #lossesToTell = new Map<string, number>();

  constructor(options: AgentOptions) {
    const { config, source, log, probeLog, logLinesDropped, tracing, version } = options;
    this.#config = config;
    this.#log = log;
    this.#logLinesDropped = logLinesDropped;
    this.#source = source;
    tellPinning(log, this.#source.pinned, config);
    const host = liveHost();
    this.#pipeline = new Pipeline(
      { endedLives: config.keep.ended },
      { ...engineOptions(config, host), run: runOf(bootId(), bootTime()) },
      bootId(),
    );
    this.#pipeline.world.isLosing = () => source.dropped() > this.#pipeline.sequence.lost;
    this.#pipeline.rules.hasMissed = () => source.hasMissed();
    this.#pipeline.sequence.goOnAt(this.#source.account()?.next() ?? []);
    const offset = () => this.#wallOffset;
    const { world, ids } = this.#pipeline;
    this.#views = new Views(world, offset, host, ids);
    this.#lifeLog = new LifeLog(log, ids);
    this.#tracing = tracing;
    this.#traces = tracing?.follow({ world, ids, wallOffset: offset });
    this.#pipeline.onWatching = probeLog.tell;
    this.#served = this.#wire(version);
  }

  /** Tells listeners apart and joins them to the pipeline. */
  #wire(version: string): ServerSource {
    const { world, rules, events, losses, sequence } = this.#pipeline;
    const lifeLog = this.#lifeLog;
    const probes = () => this.#source.points();
    const ruleStates = () => this.#pipeline.ruleStates(probes());
    const metrics = new Metrics(
      {
        version,
        world,
        rules,
        events,
        lost: losses,
        lastLossAt: () => this.#pipeline.lastLossAt,
        sinceEpoch: (at) => this.#sinceEpoch(at),
        now: bootTime,
        looks: this.#looks,
        sequenceGaps: () => sequence.byCpu(),
        lanes: () => this.#source.lanes(),
        ring: () => this.#source.ring(),
        pinned: () => this.#source.account(),
        probes,
        ruleStates,
        availableInstances: (parent) =>
          this.#instances.lately(parent, bootTime() - INSTANCES_FRESH),
        logLinesDropped: this.#logLinesDropped,
        logLinesHeldBack: lifeLog.heldBack,
        exported: this.#tracing?.counts,
        traceIdOf: this.#pipeline.ids.traceIdOf,
      },
      { perDevice: this.#config.metrics.per_device, maxDevices: this.#config.metrics.max_devices },
    );
    this.#pipeline.addSink((moment) => metrics.durations.take(moment));
    this.#pipeline.addSink(lifeLog.take);
    if (this.#traces) this.#pipeline.addSink(this.#traces.take);
    this.#pipeline.onLoss = (reason, count) => {
      this.#lossesToTell.set(reason, (this.#lossesToTell.get(reason) ?? 0) + count);
    };
    this.#source.onLook = (report) => this.#looked(report);
    rules.onMistake = (rule, error) => {
      if (this.#mistaken.has(rule.id)) return;
      this.#mistaken.add(rule.id);
      this.#log.error(
        { event: 'rule.mistake', rule: rule.id, error },
        `the rule ${rule.id} failed, which is a bug: please report it. It may miss violations.`,
      );
    };
    rules.onViolation = (violation, change) => {
      lifeLog.violation(violation, change);
      metrics.violation(violation, change);
      this.#traces?.violated(violation, change);
    };
    return {
      world,
      rules,
      metrics,
      version,
      views: this.#views,
      probes,
      ruleStates,
      modules: () =>
        readKernelModules()
          .filter(({ loaded }) => loaded)
          .map((module) => ({ ...module, held: whoHolds(module), heldByUs: false })),
      notReady: () => notReady(probes()),
      losses: () => ({ ...losses, last: this.#views.time(this.#pipeline.lastLossAt) }),
      failed: (path, error) =>
        this.#log.error(
          { event: 'http.failed', path, error },
          `the answer to ${path} failed, which is a bug: please report it (${error.message})`,
        ),
    };
  }

  /** Begins to read events and to listen. @throws when the address cannot be had */
  async start(): Promise<void> {
    this.#source.start(this.#pipeline);
    const { stale } = this.#source;
    if (stale > 0) {
      this.#log.info({ stale }, `took back ${stale} probe definitions of an agent that was killed`);
    }
    this.#timer = setInterval(() => this.#tick(), FLUSH_MS);
    const { host, port } = splitAddress(this.#config.listen);
    // The largest part to load, and events do not wait for it.
    const { createServer } = await import('../../src/http/server.ts');
    this.#server = createServer(this.#served);
    const url = await this.#server.listen({ host, port });
    this.#log.info({ event: 'agent.listening', url }, `listening on ${url}`);
  }

  /** @returns whether nothing waits for the collector any more */
  async stop(): Promise<boolean> {
    clearInterval(this.#timer);
    await this.#server?.close();
    await this.#source.stop();
    this.#lifeLog.tick(Number.POSITIVE_INFINITY);
    this.#traces?.endOver();
    // At last, because what all of them tell is read from the kernel's memory.
    this.#source.close();
    return (await this.#tracing?.stop()) ?? true;
  }

  #tick(): void {
    this.#wallOffset = wallOffset();
    const now = bootTime();
    this.#traces?.tick(now);
    this.#tracing?.tell();
    this.#lifeLog.tick(now);
    this.#tellLosses();
  }

  /** Seconds since 1970 of a time on the boot-time clock. */
  #sinceEpoch(at: number): number {
    return (at + this.#wallOffset) / SECOND;
  }

  /** The state of all objects is known again, as far as it could be looked at. */
  #looked(report: LookReport): void {
    const { reason, began, lasted, problems } = report;
    this.#looks.count(reason, this.#sinceEpoch(began), lasted / SECOND);
    const { devices, parents, vms } = this.#pipeline.world;
    const known = { parents: parents.size, devices: devices.size, vms: vms.size };
    const took = `${(lasted / 1e6).toFixed(0)} ms`;
    const count = Object.entries(known).map(([what, size]) => `${size} ${what}`);
    const why = {
      start: 'at the start',
      module: 'after a module came',
      loss: 'after a loss',
      again: 'again',
    };
    this.#log[reason === 'again' ? 'debug' : 'info'](
      { event: 'host.looked', reason, ...known, duration: lasted },
      `looked at the host ${why[reason]}, in ${took}: ${count.join(', ')}`,
    );
    for (const problem of problems) {
      this.#log.warn(
        { event: 'host.look_incomplete', problem },
        `not all could be seen: ${problem}`,
      );
    }
  }

  #tellLosses(): void {
    if (this.#lossesToTell.size === 0 || Date.now() - this.#lossWarningAt < LOSS_WARNING_MS) return;
    this.#lossWarningAt = Date.now();
    const lost = Object.fromEntries(this.#lossesToTell);
    this.#lossesToTell.clear();
    const words = Object.entries(lost).map(([reason, count]) => `${count} (${reason})`);
    this.#log.warn(
      { event: 'events.lost', lost },
      `lost events: ${words.join(', ')}. Lives going on are tainted until the host has been looked at. ` +
        `If the ring is full often, raise ring.bytes above ${this.#config.ring.bytes}.`,
    );
  }
}

function notReady(points: readonly PointStatus[]): string | undefined {
  if (points.some((point) => point.state === 'attached')) return undefined;
  const [first] = points;
  return `no point is watched: ${first?.reason ?? 'none is known'}`;
}

/** @param address "host:port", with brackets around an IPv6 address */
export function splitAddress(address: string): { readonly host: string; readonly port: number } {
  const colon = address.lastIndexOf(':');
  return {
    host: address.slice(0, colon).replace(/^\[|\]$/g, ''),
    port: Number(address.slice(colon + 1)),
  };
}
