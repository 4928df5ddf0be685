/** The metrics that Prometheus scrapes: counted as a sink, or read from the agent's state by each scrape. */

import { type Change, isOccurrence, type Sink } from '../engine/sink.ts';
import type { Violation } from '../engine/violation.ts';
import { vmId } from '../engine/words.ts';
import { KIND_COUNT } from '../events/points.ts';
import type { LossReason, SnapshotReport } from '../events/source.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import { shownStates } from '../lifecycle/operations.ts';
import type { EndedObjects, Registry } from '../lifecycle/registry.ts';
import type { Transition } from '../lifecycle/transition.ts';
import { SECOND } from '../units.ts';
import { Durations } from './durations.ts';
import { GROUPS } from './metrics/catalogue.ts';
import { RaisedExemplars } from './metrics/exemplars.ts';
import { type Format, writeMetrics } from './metrics/exposition.ts';
import { LatestTimes } from './metrics/latest-times.ts';
import type { MetricGroup, MetricsReading, ObjectMetricGroup, Scrape } from './metrics/metric.ts';
import { writeObjects } from './metrics/object-series.ts';
import { PROCESS, START_TIME } from './metrics/process.ts';
import type { MetricsSource } from './metrics/source.ts';
import { SnapshotCounts } from './snapshot-counts.ts';

export interface MetricsOptions {
  /** Whether single devices, VMs and violations have series. */
  readonly perDevice: boolean;
  /** Most devices, most VMs and most violations that have series of their own. */
  readonly maxDevices: number;
  /** Whether the metrics of the process and of Node.js are shown; its start time always is. */
  readonly process: boolean;
}

/**
 * How long a device or VM still has series after its end, ns: so that the last state is recorded by every
 * Prometheus that scrapes at least once a minute, however many there are.
 */
const GRACE = 120 * SECOND;

export class Metrics implements Sink {
  readonly #durations = new Durations();
  /** By index of the event kind. */
  readonly #events = new Float64Array(KIND_COUNT);
  readonly #snapshots = new SnapshotCounts();
  readonly #raised = new RaisedExemplars();
  readonly #latest = new LatestTimes();
  readonly #source: MetricsSource;
  readonly #options: MetricsOptions;
  readonly #groups: readonly (MetricGroup | ObjectMetricGroup)[];
  readonly #endedDevices: Lately<Device>;
  readonly #endedVms: Lately<Vm>;
  #scrapes = 0;
  /** ns. */
  #held = 0;

  constructor(source: MetricsSource, options: MetricsOptions) {
    this.#source = source;
    this.#options = options;
    this.#groups = GROUPS.filter(({ perObject }) => !perObject || options.perDevice).map((group) =>
      group === PROCESS && !options.process ? START_TIME : group,
    );
    this.#endedDevices = new Lately(source.world.devices.ended);
    this.#endedVms = new Lately(source.world.vms.ended);
  }

  event(transition: Transition): void {
    this.#events[transition.index]++;
    this.#durations.event(transition);
  }

  snapshot({ reason, began, lasted, problems }: SnapshotReport): void {
    // Converted once: the value would vary from scrape to scrape while the wall clock is corrected.
    const at = this.#source.sinceEpoch(began);
    const codes = problems.map(({ code }) => code);
    this.#snapshots.count(reason, at, lasted / SECOND, codes);
  }

  loss(reason: LossReason): void {
    this.#latest.loss(reason, this.#now());
  }

  ruleError(): void {
    this.#source.internalErrors.count('rule', this.#now());
  }

  tick(now: number): void {
    this.#endedDevices.tick(now);
    this.#endedVms.tick(now);
  }

  /**
   * Keeps when the latest violation of each rule and severity was found, and its trace as an exemplar. After
   * an outage that is later than its events, which alerts must not miss.
   */
  violation(violation: Violation, change: Change): void {
    if (!isOccurrence(change)) return;
    this.#latest.violation(violation, this.#now());
    if (change === 'repeated') return;
    const { rule, severity, lastSeen } = violation;
    const object = this.#objectOf(violation);
    const traceId = object && this.#source.traceIdOf(object);
    this.#raised.raised(`${rule} ${severity}`, traceId, this.#source.sinceEpoch(lastSeen));
  }

  /** What an export shows now. Reading it changes nothing, so scrapes and exports do not affect each other. */
  read(): MetricsReading {
    return { groups: this.#groups, scrape: this.#take() };
  }

  /** The whole document. The state is read before the first wait, so that no event changes it meanwhile. */
  async scrape(format: Format): Promise<Buffer> {
    const began = performance.now();
    const scrape = this.#take();
    const parts = await Promise.all(this.#groups.map((group) => part(group, scrape, format)));
    if (format === 'openmetrics') parts.push([Buffer.from('# EOF\n')]);
    const document = Buffer.concat(parts.flat());
    this.#scrapes++;
    this.#held += (performance.now() - began) * 1e6;
    return document;
  }

  /** The live object that a violation is about; undefined for one that is over, or the host as a whole. */
  #objectOf({ device, incarnation, vm }: Violation): Device | Vm | undefined {
    const { devices, vms } = this.#source.world;
    if (device === undefined) return [...vms].find((one) => vmId(one) === vm?.id);
    const namesake = devices.named(device);
    return namesake?.serial === incarnation ? namesake : undefined;
  }

  /** Seconds since 1970. */
  #now(): number {
    return this.#source.sinceEpoch(this.#source.now());
  }

  #take(): Scrape {
    const { world, rules } = this.#source;
    const devices = byName(world.devices, this.#endedDevices.list());
    const vms = [...world.vms, ...this.#endedVms.list()];
    const violations = rules.open();
    const most = this.#options.maxDevices;
    const over = ({ length }: readonly unknown[]) => Math.max(0, length - most);
    return {
      source: this.#source,
      durations: this.#durations,
      events: this.#events,
      snapshots: this.#snapshots,
      raised: this.#raised,
      latest: this.#latest,
      cost: { scrapes: this.#scrapes, held: this.#held },
      devices: devices.slice(0, most),
      stateOf: shownStates(world),
      vms: vms.slice(0, most),
      violations: violations.slice(0, most),
      capped: { device: over(devices), vm: over(vms), violation: over(violations) },
    };
  }
}

/** Always asynchronous, so that the failure of one part does not leave that of another unhandled. */
async function part(
  group: MetricGroup | ObjectMetricGroup,
  scrape: Scrape,
  format: Format,
): Promise<Buffer[]> {
  if (group.perObject) return writeObjects(group.metrics, scrape, format);
  return [Buffer.from(await writeMetrics(group.metrics, scrape, format))];
}

/** Objects that ended within the last {@link GRACE}. A scrape changes nothing: anybody may scrape. */
class Lately<T> {
  readonly #ended: EndedObjects<T>;
  /** How many objects had ended at each tick of that time, oldest first. */
  readonly #marks: { readonly at: number; readonly total: number }[] = [];

  constructor(ended: EndedObjects<T>) {
    this.#ended = ended;
  }

  /** @param now ns on the boot-time clock */
  tick(now: number): void {
    const marks = this.#marks;
    marks.push({ at: now, total: this.#ended.total });
    while (now - marks[0].at > GRACE) marks.shift();
  }

  /** The latest last. */
  list(): readonly T[] {
    return this.#ended.since(this.#marks[0]?.total ?? 0);
  }
}

/** Each name once: if several devices had it, the live one, else the latest. */
function byName(alive: Registry<Device>, ended: readonly Device[]): Device[] {
  const latest = new Map(ended.map((device) => [device.name, device]));
  const gone = [...latest.values()].filter(({ name }) => alive.named(name) === undefined);
  const live = [...alive].filter((device) => alive.named(device.name) === device);
  return [...live, ...gone];
}
