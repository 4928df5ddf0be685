/** The running agent: probes feed the pipeline, the pipeline feeds logs, metrics, traces and API. */
import { setImmediate as immediately, setTimeout as later } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { createServer } from '../../src/http/server.ts';
import { Views } from '../../src/http/views.ts';
import { removeStaleDefinitions } from '../../src/kernel/attach.ts';
import { liveHost } from '../../src/kernel/host.ts';
import type { LaneCounts } from '../../src/kernel/lanes.ts';
import { bootTime, Waiter, wallOffset } from '../../src/kernel/os.ts';
import { type PointStatus, Probes } from '../../src/kernel/probes.ts';
import { momentIndexOf } from '../../src/lifecycle/points.ts';
import { RULES } from '../../src/rules/catalogue.ts';
import { pointsNeeded, SECOND, type Thresholds } from '../../src/rules/rule.ts';
import { LifeLog } from '../../src/telemetry/life-log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { LifeTraces } from '../../src/telemetry/traces.ts';
import type { Config } from '../config/schema.ts';
import { Pipeline } from './pipeline.ts';

/** Records taken in before the rest of the agent gets its turn. */
const BATCH = 8192;
const IDLE_MS = 1000;
/** Looks at an empty ring, one a millisecond, before the reader goes to sleep. */
const EMPTY_LOOKS = 5;
const TICK_MS = 1000;
/** One warning about lost events per so many ms, with the sum since the last. */
const LOSS_WARNING_MS = 1000;
const MODULE_LOADED = momentIndexOf('module.load:begin');

export interface AgentOptions {
  readonly config: Config;
  readonly log: Logger;
  /** Lines that nobody read in time. */
  readonly logLinesDropped: () => number;
  readonly version: string;
  /** Where the compiled probe objects are. */
  readonly probeDirectory: string;
}

export class Agent {
  readonly #log: Logger;
  readonly #logLinesDropped: () => number;
  readonly #config: Config;
  readonly #probes: Probes;
  readonly #pipeline: Pipeline;
  readonly #waiter: Waiter;
  readonly #server: FastifyInstance;
  readonly #traces: LifeTraces;
  readonly #views: Views;
  #wallOffset = wallOffset();
  #stopping = false;
  #reading: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #missedBefore = 0;
  #callsFullBefore = 0;
  #malformedBefore = 0;
  #lossWarningAt = 0;
  /** Rules whose failure was told. */
  readonly #mistaken = new Set<string>();
  readonly #lossesToTell = new Map<string, number>();

  /** Attaches the probes. @throws when nothing can work on this host */
  constructor({ config, log, logLinesDropped, version, probeDirectory }: AgentOptions) {
    this.#config = config;
    this.#log = log;
    this.#logLinesDropped = logLinesDropped;
    const stale = removeStaleDefinitions();
    if (stale > 0)
      log.info({ stale }, `took back ${stale} probe definitions of an agent that was killed`);
    this.#probes = new Probes({ directory: probeDirectory, ringBytes: config.ring.bytes });
    this.#pipeline = new Pipeline(
      { endedLives: config.keep.ended },
      {
        rules: RULES.filter((rule) => !config.rules.disabled.includes(rule.id)),
        host: liveHost(),
        thresholds: thresholds(config.rules),
        limit: config.keep.violations,
      },
    );
    this.#waiter = new Waiter(this.#probes.ringFd);
    const offset = () => this.#wallOffset;
    this.#views = new Views(this.#pipeline.world, offset);
    this.#traces = new LifeTraces(offset);
    this.#server = this.#wire(version);
  }

  /** Tells listeners apart and joins them to the pipeline. */
  #wire(version: string): FastifyInstance {
    const { world, rules, events, lost, sequence } = this.#pipeline;
    const lifeLog = new LifeLog(this.#log);
    const probes = () => this.#probes.statuses();
    const { registry, durations } = createMetrics(
      {
        version,
        world,
        rules,
        events,
        lost,
        sequenceGaps: () => sequence.byCpu(),
        lanes: () => this.#probes.lanes.counts(),
        ring: () => ({ bytes: this.#probes.ringBytes, backlog: this.#probes.ring.backlog }),
        probes,
        activeRules: () =>
          new Map(ruleStates(probes(), rules.rules).map(({ id, active }) => [id, active])),
        logLinesDropped: this.#logLinesDropped,
      },
      { perDevice: this.#config.metrics.per_device, maxDevices: this.#config.metrics.max_devices },
    );
    this.#pipeline.addSink((moment) => durations.take(moment));
    this.#pipeline.addSink(lifeLog.take);
    this.#pipeline.addSink(this.#traces.take);
    this.#pipeline.addSink((moment) => {
      if (moment.index === MODULE_LOADED) setImmediate(() => this.#refreshProbes());
    });
    this.#pipeline.onLoss = (reason, count) => {
      this.#lossesToTell.set(reason, (this.#lossesToTell.get(reason) ?? 0) + count);
    };
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
      if (change === 'raised') this.#traces.violated(violation);
    };
    return createServer({
      world,
      rules,
      registry,
      version,
      views: this.#views,
      probes,
      notReady: () => notReady(probes()),
      losses: () => ({ ...lost, last: this.#views.time(this.#pipeline.lastLossAt) }),
    });
  }

  /** Begins to read events and to listen. @throws when the address cannot be had */
  async start(): Promise<void> {
    this.#reading = this.#read();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#tellProbes(this.#probes.statuses());
    const { host, port } = splitAddress(this.#config.listen);
    const url = await this.#server.listen({ host, port });
    this.#log.info({ event: 'agent.listening', url }, `listening on ${url}`);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#timer);
    this.#waiter.wake();
    await this.#reading;
    await this.#server.close();
    this.#traces.endAll(bootTime());
    this.#waiter.close();
    this.#probes.close();
  }

  /**
   * Reads what comes. While events come, the ring is looked at every millisecond;
   * going to sleep for each pause would cost more than reading does, and the way
   * back through a thread pool takes longer than a small ring lasts.
   */
  async #read(): Promise<void> {
    let empty = 0;
    while (!this.#stopping) {
      const count = this.#drain();
      empty = count === 0 ? empty + 1 : 0;
      if (count === BATCH) await immediately();
      else if (empty < EMPTY_LOOKS) await later(1);
      else await this.#waiter.wait(IDLE_MS);
    }
  }

  #drain(): number {
    return this.#probes.ring.drain(BATCH, this.#pipeline.ingest);
  }

  /** Time passes for the rules only as far as all events up to then have been taken in. */
  #tick(): void {
    const now = bootTime();
    const lanes = this.#probes.lanes.counts();
    const emptied = this.#drain() < BATCH && this.#probes.ring.backlog === 0;
    if (emptied) this.#pipeline.settle(lanes);
    this.#wallOffset = wallOffset();
    this.#countMisses(lanes);
    this.#refreshProbes();
    if (emptied) this.#pipeline.rules.tick(now);
    this.#traces.flush();
    this.#tellLosses();
  }

  /** Losses that show in no sequence number. */
  #countMisses(lanes: readonly LaneCounts[]): void {
    const missed = this.#missed();
    if (missed > this.#missedBefore)
      this.#pipeline.lose('probe_missed', missed - this.#missedBefore);
    this.#missedBefore = missed;
    const full = lanes.reduce((sum, lane) => sum + lane.callsFull, 0);
    if (full > this.#callsFullBefore)
      this.#pipeline.lose('calls_full', full - this.#callsFullBefore);
    this.#callsFullBefore = full;
    const { malformed } = this.#probes.ring;
    if (malformed > this.#malformedBefore) {
      this.#pipeline.lose('malformed', malformed - this.#malformedBefore);
      this.#malformedBefore = malformed;
    }
  }

  #missed(): number {
    return this.#probes.statuses().reduce((sum, point) => sum + point.missed, 0);
  }

  #refreshProbes(): void {
    const changed = this.#probes.refresh();
    if (changed.length === 0) return;
    // What the probes of a module that left had missed is no longer in the sum.
    this.#missedBefore = this.#missed();
    this.#tellProbes(
      this.#probes.statuses().filter((point) => changed.some((m) => m === point.module)),
    );
  }

  #tellProbes(points: readonly PointStatus[]): void {
    for (const module of new Set(points.map((point) => point.module))) {
      const own = points.filter((point) => point.module === module);
      const attached = own.filter((point) => point.state === 'attached');
      const failed = own.filter((point) => point.state === 'failed');
      if (attached.length > 0) {
        const text = `watching ${module}: ${attached.length} of ${own.length} points`;
        this.#log.info({ event: 'probes.attached', module, attached: attached.length }, text);
      } else if (failed.length === 0) {
        const text = `waiting for the module ${module} to be loaded`;
        this.#log.info({ event: 'probes.waiting', module }, text);
      }
      for (const reason of new Set(failed.map((point) => point.reason))) {
        const points = failed.filter((point) => point.reason === reason).map(({ point }) => point);
        this.#log.warn(
          { event: 'probes.failed', module, points, reason },
          `cannot watch ${points.join(', ')}: ${reason}`,
        );
      }
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
      `lost events: ${words.join(', ')}. Lives going on are marked tainted. ` +
        `If the ring is full often, raise ring.bytes above ${this.#config.ring.bytes}.`,
    );
  }
}

function thresholds(rules: Config['rules']): Thresholds {
  return {
    removeStall: rules.remove_stall_seconds * SECOND,
    vmPinned: rules.vm_pinned_seconds * SECOND,
    kvmRefLeak: rules.kvm_ref_leak_seconds * SECOND,
    grace: rules.grace_seconds * SECOND,
  };
}

export interface RuleState {
  readonly id: string;
  readonly title: string;
  readonly active: boolean;
  /** Points that it needs and that are not watched. */
  readonly missing: readonly string[];
}

/** Which rules can work with the points that are attached. */
export function ruleStates(points: readonly PointStatus[], rules = RULES): RuleState[] {
  const attached = new Set(points.filter((p) => p.state === 'attached').map((p) => p.point));
  return rules.map((rule) => {
    const missing = pointsNeeded(rule).filter((point) => !attached.has(point));
    return { id: rule.id, title: rule.title, active: missing.length === 0, missing };
  });
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
