/** The metrics that Prometheus scrapes: counted as a sink, or read from the agent's state by each scrape. */

import type { Change, Sink } from '../engine/sink.ts';
import type { Violation } from '../engine/violation.ts';
import { vmId } from '../engine/words.ts';
import { KIND_COUNT } from '../events/points.ts';
import type { SnapshotReport } from '../events/source.ts';
import type { Device, Vm } from '../lifecycle/objects.ts';
import { shownStates } from '../lifecycle/operations.ts';
import type { EndedObjects, Registry } from '../lifecycle/registry.ts';
import type { Transition } from '../lifecycle/transition.ts';
import { SECOND } from '../units.ts';
import { Durations } from './durations.ts';
import { GROUPS } from './metrics/catalogue.ts';
import { RaisedExemplars } from './metrics/exemplars.ts';
import { type Format, writeMetrics } from './metrics/exposition.ts';
import type { MetricGroup, ObjectMetricGroup, Scrape } from './metrics/metric.ts';
import { writeObjects } from './metrics/object-series.ts';
import type { MetricsSource } from './metrics/source.ts';
import { SnapshotCounts } from './snapshot-counts.ts';

export interface MetricsOptions {
  /** Whether single devices, VMs and violations have series. */
  readonly perDevice: boolean;
  /** Most devices, most VMs and most violations that have series of their own. */
  readonly maxDevices: number;
}

/** Number of scrapes that still show a device or VM after its end. */
const GRACE = 2;

export class Metrics implements Sink {
  readonly #durations = new Durations();
  /** By index of the event kind. */
  readonly #events = new Float64Array(KIND_COUNT);
  readonly #snapshots = new SnapshotCounts();
  readonly #raised = new RaisedExemplars();
  readonly #source: MetricsSource;
  readonly #options: MetricsOptions;
  readonly #endedDevices: Lately<Device>;
  readonly #endedVms: Lately<Vm>;
  #scrapes = 0;
  /** ns. */
  #held = 0;

  constructor(source: MetricsSource, options: MetricsOptions) {
    this.#source = source;
    this.#options = options;
    this.#endedDevices = new Lately(source.world.devices.ended);
    this.#endedVms = new Lately(source.world.vms.ended);
  }

  event(transition: Transition): void {
    this.#events[transition.index]++;
    this.#durations.event(transition);
  }

  snapshot({ reason, began, lasted }: SnapshotReport): void {
    // Converted once: the value would vary from scrape to scrape while the wall clock is corrected.
    this.#snapshots.count(reason, this.#source.sinceEpoch(began), lasted / SECOND);
  }

  /** Keeps the trace of the latest violation of each rule and severity as an exemplar. */
  violation(violation: Violation, change: Change): void {
    if (change !== 'raised' && change !== 'escalated') return;
    const { rule, severity, lastSeen } = violation;
    const object = this.#objectOf(violation);
    const traceId = object && this.#source.traceIdOf(object);
    this.#raised.raised(`${rule} ${severity}`, traceId, this.#source.sinceEpoch(lastSeen));
  }

  /** The whole document. The state is read before the first wait, so that no event changes it meanwhile. */
  async scrape(format: Format): Promise<Buffer> {
    const began = performance.now();
    const scrape = this.#take();
    const shown = GROUPS.filter(({ perObject }) => !perObject || this.#options.perDevice);
    const parts = await Promise.all(shown.map((group) => part(group, scrape, format)));
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

  #take(): Scrape {
    const { world, rules } = this.#source;
    const devices = byName(world.devices, this.#endedDevices.next());
    const vms = [...world.vms, ...this.#endedVms.next()];
    const violations = rules.open();
    const most = this.#options.maxDevices;
    const over = ({ length }: readonly unknown[]) => Math.max(0, length - most);
    return {
      source: this.#source,
      durations: this.#durations,
      events: this.#events,
      snapshots: this.#snapshots,
      raised: this.#raised,
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

/** Objects that ended since the last {@link GRACE} scrapes. */
class Lately<T> {
  readonly #ended: EndedObjects<T>;
  /** How many objects had ended at each of the latest scrapes, oldest first. */
  readonly #marks: number[] = [];

  constructor(ended: EndedObjects<T>) {
    this.#ended = ended;
  }

  /** Ended objects that this scrape still shows, the latest last; the first scrape shows none. */
  next(): readonly T[] {
    const { total } = this.#ended;
    const shown = this.#ended.since(this.#marks[0] ?? total);
    if (this.#marks.length === GRACE) this.#marks.shift();
    this.#marks.push(total);
    return shown;
  }
}

/** Each name once: if several devices had it, the live one, else the latest. */
function byName(alive: Registry<Device>, ended: readonly Device[]): Device[] {
  const latest = new Map(ended.map((device) => [device.name, device]));
  const gone = [...latest.values()].filter(({ name }) => alive.named(name) === undefined);
  const live = [...alive].filter((device) => alive.named(device.name) === device);
  return [...live, ...gone];
}
