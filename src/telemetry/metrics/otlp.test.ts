import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DataPointType, type MetricData } from '@opentelemetry/sdk-metrics';
import { Measured } from '../../../test/kit/measured.ts';
import { METRICS } from './catalogue.ts';
import { descriptorOf, metricData } from './otlp.ts';

type Kind = 'counter' | 'gauge';

function named(name: string, type: Kind = 'gauge') {
  const { name: own, unit } = descriptorOf({ name, type, labels: [], help: '', query: '' });
  return [own, unit];
}

async function dataOf(runner: Measured, name: string): Promise<MetricData> {
  runner.flush();
  const all = await metricData(runner.metrics.read());
  const found = all.find(({ descriptor }) => descriptor.name === name);
  assert.ok(found, name);
  return found;
}

describe('the metrics of OpenTelemetry', () => {
  it('have names without the suffixes that say type and unit', () => {
    assert.deepEqual(named('a_total', 'counter'), ['a', '']);
    assert.deepEqual(named('a_seconds_total', 'counter'), ['a', 's']);
    assert.deepEqual(named('a_bytes'), ['a', 'By']);
    assert.deepEqual(named('a_ratio'), ['a', '1']);
    assert.deepEqual(named('a_timestamp_seconds'), ['a_timestamp', 's']);
    assert.deepEqual(named('a_size_total_bytes'), ['a_size_total', 'By']);
    assert.deepEqual(named('a_info'), ['a_info', '']);
    assert.deepEqual(named('seconds_of_a'), ['seconds_of_a', '']);
  });

  it('have different names each', () => {
    const names = METRICS.map((metric) => descriptorOf(metric).name);
    assert.equal(new Set(names).size, METRICS.length);
  });

  it('are cumulative sums, gauges and histograms', async () => {
    const runner = new Measured();
    runner.run((scenario) => scenario.create(scenario.parent()));
    const typeOf = async (name: string) => {
      const data = await dataOf(runner, name);
      return data.dataPointType === DataPointType.SUM ? data.isMonotonic : data.dataPointType;
    };
    assert.equal(await typeOf('vfioscope_events'), true);
    assert.equal(await typeOf('vfioscope_devices'), DataPointType.GAUGE);
    assert.equal(await typeOf('vfioscope_device_info'), DataPointType.GAUGE);
    assert.equal(await typeOf('vfioscope_operation_duration'), DataPointType.HISTOGRAM);
  });

  it('have the counts of each bucket, which add up', async () => {
    const runner = new Measured();
    runner.run((scenario) => {
      const parent = scenario.parent();
      for (let i = 0; i < 3; i++) scenario.create(parent);
    });
    const data = await dataOf(runner, 'vfioscope_operation_duration');
    assert.ok(data.dataPointType === DataPointType.HISTOGRAM);
    const created = data.dataPoints.find(({ attributes }) => attributes.operation === 'create');
    assert.deepEqual(created?.attributes, { operation: 'create', result: 'ok' });
    const { buckets, count, sum } = created.value;
    assert.equal(count, 3);
    assert.equal(buckets.counts.length, buckets.boundaries.length + 1);
    assert.deepEqual([buckets.boundaries[0], buckets.boundaries.at(-1)], [0.0001, 600]);
    assert.equal(
      buckets.counts.reduce((all, one) => all + one),
      3,
    );
    const series = await runner.series('vfioscope_operation_duration_seconds_sum');
    assert.equal(sum, series['operation="create",result="ok"']);
    const below = await runner.series('vfioscope_operation_duration_seconds_bucket');
    assert.equal(buckets.counts[0], below['operation="create",result="ok",le="0.0001"']);
  });

  it('have a histogram without bounds for a summary without quantiles', async () => {
    const runner = new Measured();
    await runner.text();
    const data = await dataOf(runner, 'vfioscope_scrape_duration');
    const [{ value }] = data.dataPoints;
    assert.ok(typeof value === 'object' && 'buckets' in value);
    assert.deepEqual([value.buckets, value.count], [{ boundaries: [], counts: [1] }, 1]);
  });

  it('have no attribute for a label that is empty, and no metric without series', async () => {
    const runner = new Measured();
    runner.run((scenario) => scenario.createVm());
    const [{ attributes }] = (await dataOf(runner, 'vfioscope_vm_info')).dataPoints;
    assert.deepEqual(Object.keys(attributes), ['vm', 'pid', 'comm']);
    const all = await metricData(runner.metrics.read());
    assert.ok(all.every(({ dataPoints }) => dataPoints.length > 0));
    assert.ok(!all.some(({ descriptor }) => descriptor.name === 'vfioscope_device_info'));
  });

  it('count since the agent started, except where pinned probes may have counted before', async () => {
    const startOf = async (runner: Measured, name: string) => {
      const [{ startTime }] = (await dataOf(runner, name)).dataPoints;
      return startTime[0];
    };
    const [pinned, unpinned] = [
      new Measured(),
      new Measured({ source: { pinned: () => undefined } }),
    ];
    const started = Math.floor(Math.round(performance.timeOrigin) / 1000);
    assert.equal(await startOf(pinned, 'vfioscope_events_lost'), started);
    assert.equal(await startOf(pinned, 'vfioscope_ring_attempts'), 0);
    assert.equal(await startOf(unpinned, 'vfioscope_ring_attempts'), started);
    assert.equal(await startOf(unpinned, 'vfioscope_pinned'), 0);
  });

  it('do not change what is scraped when they are read', async () => {
    const runner = new Measured();
    runner.run((scenario) => scenario.remove(scenario.create(scenario.parent())));
    const steady = async () =>
      (await runner.text()).replace(/^(process|nodejs|vfioscope_scrape)_.*\n/gm, '');
    const before = await steady();
    for (let i = 0; i < 5; i++) await metricData(runner.metrics.read());
    assert.equal(await steady(), before);
    assert.equal((await runner.series('vfioscope_scrape_duration_seconds_count'))[''], 2);
  });

  it('are read at the same time as a scrape without mixing the two', async () => {
    const runner = new Measured();
    runner.run((scenario) => scenario.create(scenario.parent()));
    const [data, text] = await Promise.all([metricData(runner.metrics.read()), runner.text()]);
    const spaces = data.find(({ descriptor }) => descriptor.name === 'nodejs_heap_space_size_used');
    const lines = text.match(/^nodejs_heap_space_size_used_bytes\{.*/gm) ?? [];
    assert.equal(spaces?.dataPoints.length, lines.length);
    assert.equal(new Set(lines.map((line) => line.split(' ')[0])).size, lines.length);
  });
});
