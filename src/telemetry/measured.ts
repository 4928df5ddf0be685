/** The metrics of a world in which a story is told, with made-up probes and ring. */
import type { Device, Vm } from '../lifecycle/objects.ts';
import { MOMENT_COUNT, momentIndexOf } from '../lifecycle/points.ts';
import type { WorldOptions } from '../lifecycle/world.ts';
import { RULES } from '../rules/catalogue.ts';
import { type Host, SECOND } from '../rules/rule.ts';
import { Telling } from '../rules/telling.ts';
import { ExportCounts } from './export-counts.ts';
import { Looks } from './looks.ts';
import type { Format } from './metrics/exposition.ts';
import type { MetricsSource } from './metrics/metric.ts';
import { Metrics, type MetricsOptions } from './metrics.ts';

/** Of the boot, as seconds since 1970. */
export const BOOTED = 1.763e9;

export interface MeasuredOptions extends Partial<MetricsOptions>, Partial<WorldOptions> {
  readonly host?: Host;
  /** What is read from something else than what is made up here. */
  readonly source?: Partial<MetricsSource>;
  traceIdOf?(life: Device | Vm): string | undefined;
}

export class Measured extends Telling {
  readonly events = new Float64Array(MOMENT_COUNT);
  readonly lost = { ring_full: 0, probe_missed: 0, calls_full: 0, unreadable: 0, malformed: 0 };
  readonly looks = new Looks();
  readonly exported = new ExportCounts();
  readonly metrics: Metrics;
  /** Bytes that are in the ring and not read. */
  backlog = 0;
  /** ns on the boot-time clock. */
  now = 0;

  constructor(options: MeasuredOptions = {}) {
    const { host, endedLives = 1000, traceIdOf = () => undefined, ...others } = options;
    const { source: given = {}, ...rest } = others;
    super({ rules: RULES, traceIdOf, ...(host ? { host } : {}) }, { endedLives });
    const source: MetricsSource = {
      version: '1.2.3',
      world: this.world,
      rules: this.engine,
      events: this.events,
      lost: this.lost,
      lastLossAt: () => 0,
      sinceEpoch: (at) => BOOTED + at / SECOND,
      now: () => this.now,
      looks: this.looks,
      sequenceGaps: () => [0, 3],
      lanes: () => [
        { cpu: 0, attempts: 100, dropped: 0 },
        { cpu: 1, attempts: 50, dropped: 3 },
      ],
      ring: () => ({ bytes: 1 << 20, backlog: this.backlog }),
      pinned: () => ({
        lost: 4,
        counts: new Float64Array(MOMENT_COUNT)
          .fill(70, momentIndexOf('kvm.put:begin'))
          .fill(0, momentIndexOf('kvm.put:end')),
      }),
      probes: () => [
        {
          ...{ point: 'mdev.create', state: 'attached', missed: 2 },
          ...{ symbol: 'mdev_device_create', method: 'kprobe+kretprobe' },
        },
        { point: 'kvm.get', state: 'failed', missed: 0 },
      ],
      ruleStates: () => [
        { id: 'remove-stall', active: true },
        { id: 'kvm-ref-leak', active: false },
        {
          id: 'notifier-error-ignored',
          active: false,
          impossible: 'drivers are told by no callback',
        },
      ],
      availableInstances: (parent) => this.host.availableInstances?.(parent, 0),
      logLinesDropped: () => 0,
      logLinesHeldBack: new Map([['open-failed', 5]]),
      exported: this.exported,
      traceIdOf,
      ...given,
    };
    this.metrics = new Metrics(source, { perDevice: true, maxDevices: 1000, ...rest });
    this.sink = (moment) => {
      this.events[moment.index]++;
      this.metrics.durations.take(moment);
    };
    const { onViolation } = this.engine;
    this.engine.onViolation = (violation, change) => {
      onViolation(violation, change);
      this.metrics.violation(violation, change);
    };
  }

  async text(format: Format = 'text'): Promise<string> {
    this.live();
    return (await this.metrics.scrape(format)).toString();
  }

  /** The values of one metric by their labels, as a scrape finds them. */
  async series(name: string): Promise<Record<string, number>> {
    const lines = (await this.text()).matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? (\\S+)$`, 'gm'));
    return Object.fromEntries([...lines].map(([, labels = '', value]) => [labels, Number(value)]));
  }
}
