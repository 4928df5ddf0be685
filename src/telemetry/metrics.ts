/** The metrics that Prometheus scrapes, read from the agent's state when it does. */
import type { Device, Vm } from '../lifecycle/objects.ts';
import type { EndedLives } from '../lifecycle/world.ts';
import type { Change } from '../rules/engine.ts';
import type { Violation } from '../rules/violation.ts';
import { vmId } from '../rules/words.ts';
import { Durations } from './durations.ts';
import { GROUPS } from './metrics/catalogue.ts';
import { RaisedExemplars } from './metrics/exemplars.ts';
import { type Format, writeMetrics } from './metrics/exposition.ts';
import { writeLives } from './metrics/life-series.ts';
import type { LifeMetricGroup, MetricGroup, MetricsSource, Scrape } from './metrics/metric.ts';

export interface MetricsOptions {
  /** Whether there are series for single devices, VMs and violations. */
  readonly perDevice: boolean;
  /** Most devices, most VMs and most violations that get series of their own. */
  readonly maxDevices: number;
}

/** Scrapes that show a life after its end. */
const GRACE = 2;

export class Metrics {
  /** The sink that times operations. */
  readonly durations = new Durations();
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
    this.#endedDevices = new Lately(source.world.endedDevices);
    this.#endedVms = new Lately(source.world.endedVms);
  }

  /** Notes whose trace tells more about a count. */
  violation(violation: Violation, change: Change): void {
    if (change !== 'raised' && change !== 'escalated') return;
    const { rule, severity, lastSeen } = violation;
    const life = this.#lifeOf(violation);
    const traceId = life && this.#source.traceIdOf(life);
    this.#raised.raised(`${rule} ${severity}`, traceId, this.#source.sinceEpoch(lastSeen));
  }

  /** The whole document. All of the state is read before it first waits: no event changes it meanwhile. */
  async scrape(format: Format): Promise<Buffer> {
    const began = performance.now();
    const scrape = this.#take();
    const shown = GROUPS.filter(({ perLife }) => !perLife || this.#options.perDevice);
    const parts = await Promise.all(shown.map((group) => part(group, scrape, format)));
    if (format === 'openmetrics') parts.push([Buffer.from('# EOF\n')]);
    const document = Buffer.concat(parts.flat());
    this.#scrapes++;
    this.#held += (performance.now() - began) * 1e6;
    return document;
  }

  /** Undefined when it is over, or about the host as a whole. */
  #lifeOf({ device, life, vm }: Violation): Device | Vm | undefined {
    const { devicesByName, vms } = this.#source.world;
    if (device === undefined) return [...vms].find((one) => vmId(one) === vm?.id);
    const namesake = devicesByName.get(device);
    return namesake?.serial === life ? namesake : undefined;
  }

  #take(): Scrape {
    const { world, rules } = this.#source;
    const devices = byName(world.devicesByName, this.#endedDevices.next());
    const vms = [...world.vms, ...this.#endedVms.next()];
    const violations = rules.open();
    const most = this.#options.maxDevices;
    const over = ({ length }: readonly unknown[]) => Math.max(0, length - most);
    return {
      source: this.#source,
      durations: this.durations,
      raised: this.#raised,
      cost: { scrapes: this.#scrapes, held: this.#held },
      devices: devices.slice(0, most),
      vms: vms.slice(0, most),
      violations: violations.slice(0, most),
      capped: { device: over(devices), vm: over(vms), violation: over(violations) },
    };
  }
}

/** Asynchronous whatever it is, so that no failure of one leaves that of another unheard. */
async function part(
  group: MetricGroup | LifeMetricGroup,
  scrape: Scrape,
  format: Format,
): Promise<Buffer[]> {
  if (group.perLife) return writeLives(group.metrics, scrape, format);
  return [Buffer.from(await writeMetrics(group.metrics, scrape, format))];
}

/** Lives that ended, for as many scrapes as they stay. */
class Lately<T> {
  readonly #ended: EndedLives<T>;
  /** How many had ended at each of the latest scrapes, oldest first. */
  readonly #marks: number[] = [];

  constructor(ended: EndedLives<T>) {
    this.#ended = ended;
  }

  /** Those that this scrape still shows, the latest last; before the first one, nobody waits for any. */
  next(): readonly T[] {
    const { total } = this.#ended;
    const shown = this.#ended.since(this.#marks[0] ?? total);
    if (this.#marks.length === GRACE) this.#marks.shift();
    this.#marks.push(total);
    return shown;
  }
}

/** Each name once: of namesakes the one that lives, else the latest. */
function byName(alive: ReadonlyMap<string, Device>, ended: readonly Device[]): Device[] {
  const latest = new Map(ended.map((device) => [device.name, device]));
  const gone = [...latest.values()].filter(({ name }) => !alive.has(name));
  return [...alive.values(), ...gone];
}
