import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Measured } from '../measured.ts';
import { LEFT_OUT, MEASURED, PROCESS } from './process.ts';

describe('what prom-client measures', () => {
  it('has a row each, or is left out', () => {
    const ours = PROCESS.metrics.map(({ name }) => name);
    const theirs = MEASURED.getMetricsAsArray().map(({ name }) => name);
    const known = [...ours, ...LEFT_OUT].filter(
      (name) => name !== 'nodejs_eventloop_busy_seconds_total',
    );
    assert.deepEqual(known.sort(), theirs.sort());
  });

  it('is of this process', async () => {
    const telling = new Measured();
    const value = async (name: string) => (await telling.series(name))[''];
    const resident = await value('process_resident_memory_bytes');
    assert.ok(Math.abs(resident / process.memoryUsage.rss() - 1) < 0.3, `${resident}`);
    const started = Date.now() / 1000 - process.uptime();
    assert.ok(Math.abs((await value('process_start_time_seconds')) - started) < 2);
    const before = await value('process_cpu_seconds_total');
    const until = performance.now() + 60;
    while (performance.now() < until);
    const used = (await value('process_cpu_seconds_total')) - before;
    assert.ok(used > 0.02 && used < 10, `${used}`);
  });

  it('has counters that keep their name in both formats, and grow over changes of the format', async () => {
    const telling = new Measured();
    let last = 0;
    for (const format of ['text', 'openmetrics', 'text', 'openmetrics'] as const) {
      const text = await telling.text(format);
      const header = format === 'text' ? 'process_cpu_seconds_total' : 'process_cpu_seconds';
      assert.match(text, new RegExp(`^# TYPE ${header} counter$`, 'm'));
      const value = Number(/^process_cpu_seconds_total (\S+)$/m.exec(text)?.[1]);
      assert.ok(value >= last, `${value} after ${last}`);
      last = value;
    }
  });

  it('tells collections of garbage, with bounds written as in all histograms', async () => {
    const fill = () => Array.from({ length: 1e5 }, (_, i) => ({ i }));
    const telling = new Measured();
    let text = '';
    for (let tries = 0; tries < 100 && !text.includes('nodejs_gc_duration_seconds_sum'); tries++) {
      fill();
      await setTimeout(10);
      text = await telling.text();
    }
    const bounds = [...text.matchAll(/^nodejs_gc_duration_seconds_bucket\{.*le="(.+)"\}/gm)];
    const known = ['0.001', '0.01', '0.1', '1.0', '2.0', '5.0', '+Inf'];
    assert.deepEqual([...new Set(bounds.map(([, le]) => le))], known);
  });
});
