// SPDX-License-Identifier: Apache-2.0
/**
 * A real OpenTelemetry Collector that has received the metrics shows Prometheus what the agent shows at /metrics: the
 * same names, labels, types and values. Its exporter is OpenTelemetry's for Go: ./prometheus.go.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { RESOURCE_ATTRIBUTES } from '../../agent/runtime/resource.ts';
import { VERSION } from '../../agent/version.ts';
import { offers } from '../../src/scenario/mdev.ts';
import { METRICS } from '../../src/telemetry/metrics/catalogue.ts';
import { SCHEMA_URL } from '../../src/telemetry/schema-url.ts';
import { Measured } from '../kit/measured.ts';
import { SUITE_MS, until } from '../until.ts';
import { attribute, Collector } from './collector.ts';
import { exportUnder } from './replayed.ts';

/** Differ from one reading to the next, in their values, or in the resources that Node.js has in use. */
const MEASURED = /^(process|nodejs)_|^vfioscope_(scrape_duration_seconds|otlp_items_total)/;
/** Their series begin with the first garbage collection, which may be between two readings. */
const GARBAGE = /^nodejs_gc_/;
/** A summary without quantiles becomes a histogram without bounds. */
const SUMMARY = 'vfioscope_scrape_duration_seconds';
const SUMMARY_BUCKET = `${SUMMARY}_bucket{le="+Inf"}`;
/** Families that differ on purpose, and that of the resource. */
const UNLIKE = new RegExp(`^${SUMMARY}$|^target(_info)?$`);

interface Exposed {
  /** By name and labels. */
  readonly series: ReadonlyMap<string, number>;
  /** By name of the family: type and description. */
  readonly families: ReadonlyMap<string, string>;
}

/** Reads OpenMetrics, without exemplars and what says where it is from. */
function exposed(text: string): Exposed {
  const series = new Map<string, number>();
  const families = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, kind, family, rest] = /^# (TYPE|HELP) (\S+) (.*)$/.exec(line) ?? [];
    if (kind) families.set(family, `${families.get(family) ?? ''}${kind} ${rest}\n`);
    const [, name, labels = '', value] = /^(\w+)(?:\{(.*?)\})? (\S+)(?: # .*)?$/.exec(line) ?? [];
    if (!name || name === 'target_info' || name.endsWith('_created')) continue;
    const own = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)]
      .filter(([, label, text]) => !label.startsWith('otel_scope_') && text !== '')
      .map(([pair]) => pair);
    series.set(`${name}{${own.sort().join(',')}}`, Number(value));
  }
  return { series, families };
}

/** A host on which all metrics have series. */
function busy(): Measured {
  const runner = new Measured({ traceIdOf: () => '0af7651916cd43dd8448eb211c80319c' });
  runner.run((scenario) => {
    const parent = scenario.parent({ name: 'gpu"0\\', driver: 'nvidia' });
    const vm = scenario.createVm();
    scenario.setKvm(scenario.bindPci('0000:3b:00.0'), vm);
    const gone = scenario.create(parent);
    scenario.close(scenario.open(gone, { vm }));
    scenario.remove(gone);
    scenario.createFails(parent, 28);
    const stuck = scenario.create(parent);
    scenario.open(stuck, { vm, as: { pid: 600, comm: 'a"b\\c\nd' } });
    scenario.removeBegins(stuck, { as: { pid: 700, comm: 'bash' } });
    offers(scenario, parent, { 'nvidia-35': 3 });
    const leaked = scenario.createVm();
    scenario.open(scenario.create(parent), { vm: leaked });
    scenario.putKvm(leaked);
    scenario.putKvm(leaked);
    scenario.closeVm(vm);
    scenario.wait(11);
  });
  // A VM that was not observed from its creation on: findings about it are suppressed.
  runner.raw('kvm.vm.fd_close:begin', { kvm: 1, usersCount: 2 });
  runner.run((scenario) => scenario.wait(20));
  return runner;
}

describe('metrics over OTLP', { timeout: SUITE_MS }, () => {
  for (const protocol of ['http/protobuf', 'grpc'] as const) {
    describe(`over ${protocol}`, () => {
      let collector: Collector;
      let scraped: Exposed;
      let pushed: Exposed;

      before(async () => {
        collector = await Collector.start();
        const runner = busy();
        const { otlp } = await exportUnder({
          OTEL_METRICS_EXPORTER: 'otlp',
          ...{ OTEL_TRACES_EXPORTER: 'none', OTEL_LOGS_EXPORTER: 'none' },
          OTEL_EXPORTER_OTLP_ENDPOINT: protocol === 'grpc' ? collector.grpc : collector.http,
          OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
          OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
        });
        assert.ok(otlp);
        otlp.measure({ read: () => runner.metrics.read(), failed: assert.fail });
        scraped = exposed(await runner.text('openmetrics'));
        // Sends them, long before the interval of a minute is over.
        assert.equal(await otlp.stop(), true);
        assert.equal(otlp.counts.dropped('metrics'), 0);
        await until('the collector has handed on what it received', async () => {
          const answer = await fetch(collector.prometheus, {
            headers: { accept: 'application/openmetrics-text; version=1.0.0' },
          });
          assert.equal(answer.status, 200);
          pushed = exposed(await answer.text());
          return pushed.series.size > 0 && collector.metrics.length > 0;
        });
        assert.ok(otlp.counts.of('metrics', 'sent') > 300);
      });
      after(() => collector.stop());

      it('are the same series with the same values', () => {
        const steady = ({ series }: Exposed) =>
          [...series]
            .filter(([name]) => !MEASURED.test(name))
            .map(([name, value]) => `${name} ${value}`)
            .sort();
        assert.ok(steady(scraped).length > 300);
        assert.deepEqual(steady(pushed), steady(scraped));
      });

      it('have the same names and labels also where each reading measures other values', () => {
        const shapes = ({ series }: Exposed) => {
          const all = [...series.keys()]
            .filter((name) => MEASURED.test(name) && !GARBAGE.test(name) && name !== SUMMARY_BUCKET)
            .map((name) => name.replace(/="(?:[^"\\]|\\.)*"/g, ''));
          return [...new Set(all)].sort();
        };
        assert.ok(shapes(scraped).length > 20);
        assert.deepEqual(shapes(pushed), shapes(scraped));
        assert.equal(pushed.series.get(SUMMARY_BUCKET), 1);
      });

      it('have the same types and descriptions', () => {
        const described = ({ families }: Exposed) =>
          [...families]
            .filter(([name]) => !UNLIKE.test(name))
            .map(([name, text]) => `${name} ${text.split('\n').sort().join(' ')}`)
            .sort();
        const withSeries = [...pushed.families.keys()];
        const families = [...scraped.families].filter(([name]) => withSeries.includes(name));
        assert.deepEqual(described(pushed), described({ ...scraped, families: new Map(families) }));
        assert.match(pushed.families.get(SUMMARY) ?? '', /^TYPE histogram$/m);
      });

      it('are all metrics that have series', () => {
        const names = ({ series }: Exposed) =>
          new Set([...series.keys()].map((name) => name.replace(/\{.*/, '')));
        const [inScrape, inPush] = [names(scraped), names(pushed)];
        const without = METRICS.map(({ name, type }) =>
          type === 'histogram' || type === 'summary' ? `${name}_count` : name,
        ).filter((name) => !inPush.has(name) && !GARBAGE.test(name));
        assert.deepEqual(
          without.filter((name) => inScrape.has(name) || name.startsWith('vfioscope_')),
          [],
        );
      });

      it('have the resource and the scope of spans and log records', () => {
        for (const name of Object.keys(RESOURCE_ATTRIBUTES)) {
          // A machine without an id has none to send.
          if (name !== 'host.id') assert.ok(attribute(collector.resource, name), name);
        }
        assert.deepEqual([...collector.schemas].sort(), [
          `metrics resource ${SCHEMA_URL}`,
          `metrics vfioscope ${VERSION} ${SCHEMA_URL}`,
        ]);
      });
    });
  }
});
