/** A scenario runner with metrics, and with made-up probes and ring. */

import { RULES } from '../../src/catalogue.ts';
import type { Host } from '../../src/events/host.ts';
import { KIND_COUNT, kindIndexOf } from '../../src/events/points.ts';
import type { Device, Vm } from '../../src/lifecycle/objects.ts';
import type { WorldOptions } from '../../src/lifecycle/world.ts';
import { criticalSeries } from '../../src/telemetry/critical-violation.ts';
import { ExportCounts } from '../../src/telemetry/export-counts.ts';
import { InternalErrors } from '../../src/telemetry/internal-errors.ts';
import type { Format } from '../../src/telemetry/metrics/exposition.ts';
import type { MetricsSource } from '../../src/telemetry/metrics/source.ts';
import { Metrics, type MetricsOptions } from '../../src/telemetry/metrics.ts';
import { SECOND } from '../../src/units.ts';
import { ScenarioRunner } from './scenario-runner.ts';

/** Of the boot, as seconds since 1970. */
export const BOOTED = 1.763e9;

export interface MeasuredOptions extends Partial<MetricsOptions>, Partial<WorldOptions> {
  readonly host?: Host;
  /** Replaces made-up values. */
  readonly source?: Partial<MetricsSource>;
  traceIdOf?(object: Device | Vm): string | undefined;
}

export class Measured extends ScenarioRunner {
  readonly lost = { ring_full: 0, probe_missed: 0, calls_full: 0, unreadable: 0, malformed: 0 };
  readonly exported = new ExportCounts();
  readonly metrics: Metrics;
  /** Bytes that are in the ring and not read. */
  backlog = 0;
  /** ns on the boot-time clock. */
  now = 0;

  constructor(options: MeasuredOptions = {}) {
    const { host, endedObjects = 1000, traceIdOf = () => undefined, ...others } = options;
    const { source: given = {}, ...rest } = others;
    super({ rules: RULES, traceIdOf, ...(host ? { host } : {}) }, { endedObjects });
    const source: MetricsSource = {
      version: '1.2.3',
      world: this.world,
      rules: this.engine,
      lost: this.lost,
      sinceEpoch: (at) => BOOTED + at / SECOND,
      now: () => this.now,
      sequenceGaps: () => [0, 3],
      cpuCounters: () => [
        { cpu: 0, attempts: 100, dropped: 0 },
        { cpu: 1, attempts: 50, dropped: 3 },
      ],
      ring: () => ({ bytes: 1 << 20, backlog: this.backlog }),
      pinned: () => ({
        lost: 4,
        counts: new Float64Array(KIND_COUNT)
          .fill(70, kindIndexOf('kvm.put:begin'))
          .fill(0, kindIndexOf('kvm.put:end')),
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
          impossible: 'no callback notifies drivers',
        },
      ],
      costs: () => ({
        runTimes: new Map([
          ['mdev.create', 2 * SECOND],
          ['kvm.get', 0],
        ]),
        everDetached: new Set(['kvm.get']),
        budgets: [{ budget: 'probes', limit: 0.05, used: 0.01, exceeded: false }],
      }),
      availableInstances: (parent) => this.host.availableInstances?.(parent, 0),
      logLinesDropped: () => 0,
      logLinesSuppressed: new Map([['open-failed', 5]]),
      kernelLogSkipped: () => 0,
      exported: this.exported,
      internalErrors: new InternalErrors(),
      criticals: () =>
        this.engine
          .list()
          .filter(({ severity }) => severity === 'critical')
          .map((one) => {
            const series = criticalSeries(one, BOOTED + one.lastSeen / SECOND);
            return { id: one.id, rule: one.rule, ...series };
          }),
      criticalsDropped: () => 0,
      traceIdOf,
      ...given,
    };
    this.metrics = new Metrics(source, {
      ...{ perDevice: true, maxDevices: 1000, process: true, ...rest },
    });
    this.sinks.push(this.metrics);
  }

  async text(format: Format = 'text'): Promise<string> {
    this.flush();
    return (await this.metrics.scrape(format)).toString();
  }

  /** The values of one metric by their labels, as a scrape finds them. */
  async series(name: string): Promise<Record<string, number>> {
    const lines = (await this.text()).matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? (\\S+)$`, 'gm'));
    return Object.fromEntries([...lines].map(([, labels = '', value]) => [labels, Number(value)]));
  }
}
