import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ExportResult, ExportResultCode, setGlobalErrorHandler } from '@opentelemetry/core';
import { resourceFromAttributes } from '@opentelemetry/resources';
import type { PushMetricExporter, ResourceMetrics } from '@opentelemetry/sdk-metrics';
import { ExportCounts } from '../../src/telemetry/export-counts.ts';
import { Measured } from '../../test/kit/measured.ts';
import { until } from '../../test/until.ts';
import { MetricExport } from './metric-export.ts';

const SENT: ExportResult = { code: ExportResultCode.SUCCESS };
const FAILED: ExportResult = { code: ExportResultCode.FAILED, error: new Error('refused') };
/** Longer than any test. */
const NEVER = 2 ** 31 - 1;

/** Answers requests as the test wants, or keeps them. */
class Exporter implements PushMetricExporter {
  readonly sizes: number[] = [];
  readonly unanswered: ((result: ExportResult) => void)[] = [];
  readonly #answer: (request: number) => ExportResult | undefined;

  constructor(answer: (request: number) => ExportResult | undefined) {
    this.#answer = answer;
  }

  export({ scopeMetrics }: ResourceMetrics, done: (result: ExportResult) => void): void {
    const sizes = scopeMetrics.flatMap(({ metrics }) =>
      metrics.map((one) => one.dataPoints.length),
    );
    const result = this.#answer(this.sizes.length);
    this.sizes.push(sizes.reduce((all, size) => all + size, 0));
    if (result) done(result);
    else this.unanswered.push(done);
  }

  async forceFlush(): Promise<void> {}
  async shutdown(): Promise<void> {}
}

function started(
  answer: (request: number) => ExportResult | undefined,
  { devices = 1, interval = NEVER, timeout = NEVER } = {},
) {
  const runner = new Measured({ maxDevices: 10_000 });
  runner.run((scenario) => {
    const parent = scenario.parent();
    for (let i = 0; i < devices; i++) scenario.create(parent);
  });
  const exporter = new Exporter(answer);
  const counts = new ExportCounts();
  const errors: unknown[] = [];
  setGlobalErrorHandler((error) => errors.push(error));
  const metrics = new MetricExport({
    ...{ exporter, counts, interval, timeout, scope: { name: 'vfioscope' } },
    resource: resourceFromAttributes({}),
  });
  let reads = 0;
  metrics.start({
    read: () => {
      reads++;
      return runner.metrics.read();
    },
    failed: (error) => assert.fail(String(error)),
  });
  const of = (outcome: 'sent' | 'failed' | 'queue_full') => counts.of('metrics', outcome);
  return { metrics, exporter, errors, of, reads: () => reads };
}

describe('the export of metrics', () => {
  it('sends them a last time when it ends, in requests of bounded size', async () => {
    const { metrics, exporter, of, reads } = started(() => SENT, { devices: 1000 });
    await metrics.end();
    assert.equal(reads(), 1);
    const points = exporter.sizes.reduce((all, size) => all + size, 0);
    assert.ok(points > 4000);
    assert.deepEqual([of('sent'), of('failed'), of('queue_full')], [points, 0, 0]);
    assert.ok(exporter.sizes.every((size) => size <= 2000));
  });

  it('sends them at each interval', async () => {
    const { metrics, exporter } = started(() => SENT, { interval: 20, timeout: 30_000 });
    await until('it has sent them three times', () => exporter.sizes.length >= 3);
    await metrics.end();
  });

  it('counts what a collector refuses, reports why, and tries again', async () => {
    const { metrics, exporter, errors, of } = started(
      (request) => (request === 0 ? FAILED : SENT),
      { interval: 20 },
    );
    await until('a later request is accepted', () => of('sent') > 0);
    await metrics.end();
    assert.equal(of('failed'), exporter.sizes[0]);
    assert.deepEqual(errors, [FAILED.error]);
  });

  it('has one request at a time, and counts what cannot be sent meanwhile', async () => {
    const { metrics, exporter, of } = started(() => undefined, { interval: 20, timeout: 10 });
    await until('it would have sent again', () => of('queue_full') > 0);
    assert.equal(exporter.sizes.length, 1);
    exporter.unanswered[0](SENT);
    assert.equal(of('sent'), exporter.sizes[0]);
    await until('it sends again', () => exporter.sizes.length === 2);
    exporter.unanswered[1](SENT);
    await metrics.end();
  });

  it('counts the requests of a reading that it does not try, because one took too long', async () => {
    const { metrics, exporter, of } = started(() => undefined, { devices: 1000, timeout: 10 });
    await metrics.end();
    exporter.unanswered[0](FAILED);
    assert.equal(exporter.sizes.length, 1);
    assert.ok(of('failed') > 4000);
  });

  it('sends nothing where nothing can be read any more', async () => {
    const exporter = new Exporter(() => SENT);
    const metrics = new MetricExport({
      ...{ exporter, counts: new ExportCounts(), interval: NEVER, timeout: NEVER },
      ...{ scope: { name: 'vfioscope' }, resource: resourceFromAttributes({}) },
    });
    metrics.start({ read: () => undefined, failed: (error) => assert.fail(String(error)) });
    await metrics.end();
    assert.deepEqual(exporter.sizes, []);
  });

  it('hands on what is wrong with a value, and sends nothing', async () => {
    const exporter = new Exporter(() => SENT);
    const metrics = new MetricExport({
      ...{ exporter, counts: new ExportCounts(), interval: NEVER, timeout: NEVER },
      ...{ scope: { name: 'vfioscope' }, resource: resourceFromAttributes({}) },
    });
    const broken = new Measured({
      source: {
        logLinesDropped() {
          throw new Error('a bug');
        },
      },
    });
    const errors: unknown[] = [];
    metrics.start({ read: () => broken.metrics.read(), failed: (error) => errors.push(error) });
    await metrics.end();
    assert.deepEqual(exporter.sizes, []);
    assert.deepEqual(errors.map(String), ['Error: a bug']);
  });
});
