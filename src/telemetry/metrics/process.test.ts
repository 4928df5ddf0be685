import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Measured } from '../../../test/kit/measured.ts';
import { LEFT_OUT, MEASURED, PROCESS } from './process.ts';

describe('the metrics of prom-client', () => {
  it('have a row each, or are left out', () => {
    const ours = PROCESS.metrics.map(({ name }) => name);
    const theirs = MEASURED.getMetricsAsArray().map(({ name }) => name);
    const known = [...ours, ...LEFT_OUT].filter(
      (name) => name !== 'nodejs_eventloop_busy_seconds_total',
    );
    assert.deepEqual(known.sort(), theirs.sort());
  });

  it('are those of this process', async () => {
    const runner = new Measured();
    const value = async (name: string) => (await runner.series(name))[''];
    const resident = await value('process_resident_memory_bytes');
    assert.ok(Math.abs(resident / process.memoryUsage.rss() - 1) < 0.3, `${resident}`);
    const started = Date.now() / 1000 - process.uptime();
    assert.ok(Math.abs((await value('process_start_time_seconds')) - started) < 2);
    const before = await value('process_cpu_seconds_total');
    const start = process.cpuUsage();
    // On a busy machine that takes longer than 60 ms.
    while (process.cpuUsage(start).user < 60_000);
    const used = (await value('process_cpu_seconds_total')) - before;
    const { user, system } = process.cpuUsage(start);
    assert.ok(used > 0.05 && used < (user + system) / 1e6 + 0.05, `${used}`);
  });

  it('have counters that keep their name in both formats, and grow when the format changes', async () => {
    const runner = new Measured();
    let last = 0;
    for (const format of ['text', 'openmetrics', 'text', 'openmetrics'] as const) {
      const text = await runner.text(format);
      const header = format === 'text' ? 'process_cpu_seconds_total' : 'process_cpu_seconds';
      assert.match(text, new RegExp(`^# TYPE ${header} counter$`, 'm'));
      const value = Number(/^process_cpu_seconds_total (\S+)$/m.exec(text)?.[1]);
      assert.ok(value >= last, `${value} after ${last}`);
      last = value;
    }
  });

  it('include garbage collections, with bounds written as in all histograms', async () => {
    const fill = () => Array.from({ length: 1e5 }, (_, i) => ({ i }));
    const runner = new Measured();
    let text = '';
    for (let tries = 0; tries < 100 && !text.includes('nodejs_gc_duration_seconds_sum'); tries++) {
      fill();
      await setTimeout(10);
      text = await runner.text();
    }
    const bounds = [...text.matchAll(/^nodejs_gc_duration_seconds_bucket\{.*le="(.+)"\}/gm)];
    const known = ['0.001', '0.01', '0.1', '1.0', '2.0', '5.0', '+Inf'];
    assert.deepEqual([...new Set(bounds.map(([, le]) => le))], known);
  });
});
