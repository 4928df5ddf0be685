/** Debian's Prometheus scrapes the server, in both formats. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { TimeSeries } from '../../test/time-series.ts';
import { METRICS } from '../telemetry/metrics/catalogue.ts';
import { Served } from './served.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

/** The content types of the answers so far. */
const answered: string[] = [];
let telling: Served;
let prometheus: TimeSeries;

/** What an instant query answers, once it answers anything. */
async function query(expression: string): Promise<readonly Sample[]> {
  for (let tries = 0; tries < 100; tries++) {
    const { result } = await prometheus.get<{ result: Sample[] }>('query', { query: expression });
    if (result.length > 0) return result;
    await setTimeout(100);
  }
  return assert.fail(`Prometheus has nothing for ${expression}`);
}

/** Until the server has been scraped so many times more. */
async function scrapes(count: number): Promise<void> {
  const enough = answered.length + count;
  while (answered.length < enough) await setTimeout(20);
}

before(async () => {
  telling = new Served({ traceIdOf: () => TRACE });
  telling.tell((story) => {
    const parent = story.parent({ name: 'gpu"0\\' });
    const device = story.create(parent);
    story.createFails(parent, 28);
    const as = { pid: 600, comm: 'a"b\\c\nd' };
    story.open(device, { vm: story.createVm({ as }), as });
    story.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
    story.wait(11);
  });
  // Every other scrape is made by one who knows the text format only.
  telling.server.addHook('onRequest', async ({ raw }) => {
    if (answered.length % 2 === 1) raw.headers.accept = 'text/plain;version=0.0.4';
  });
  telling.server.addHook('onSend', async (_request, reply) => {
    answered.push(String(reply.getHeader('content-type')).split(';')[0]);
  });
  const target = (await telling.server.listen({ host: '127.0.0.1', port: 0 })).slice(7);
  prometheus = await TimeSeries.prometheus([{ address: target }], '250ms');
  await scrapes(4);
});

after(async () => {
  await prometheus.stop();
  await telling.server.close();
});

describe('a real Prometheus', { timeout: 60_000 }, () => {
  it('takes every scrape, in both formats', async () => {
    const [up] = await query('min_over_time(up[1m])');
    assert.equal(up.value[1], '1');
    assert.deepEqual(answered.slice(0, 4), [
      ...['application/openmetrics-text', 'text/plain'],
      ...['application/openmetrics-text', 'text/plain'],
    ]);
  });

  it('finds the same series, whatever the format', async () => {
    await scrapes(4);
    const series = (
      await prometheus.get<object[]>('series', { 'match[]': '{__name__=~"vfioscope.+"}' })
    ).length;
    const lines = (await telling.text()).matchAll(/^vfioscope\S+ |^vfioscope.*\} \S+$/gm);
    assert.equal(series, [...lines].length);
    // The changes of format must not have made gaps either: each scrape has all of them.
    const count = 'count({__name__=~"vfioscope.+"})[1s:100ms]';
    const [fewest] = await query(`min_over_time(${count})`);
    const [most] = await query(`max_over_time(${count})`);
    assert.deepEqual([fewest.value[1], most.value[1]], [`${series}`, `${series}`]);
  });

  it('keeps the type of each metric', async () => {
    const metadata = await prometheus.get<
      Record<string, { type: string; unit: string; help: string }[]>
    >('metadata', {});
    assert.equal(metadata.vfioscope_operation_duration_seconds[0].type, 'histogram');
    assert.equal(metadata.vfioscope_devices[0].type, 'gauge');
    // Prometheus knows a counter of OpenMetrics by its name without _total.
    const known = metadata.vfioscope_violations ?? metadata.vfioscope_violations_total;
    assert.equal(known[0].type, 'counter');
  });

  it('has counters that grow over changes of the format', async () => {
    telling.tell((story) => story.createVm());
    const first = await query('sum(vfioscope_operation_duration_seconds_count)');
    telling.tell((story) => {
      for (let i = 0; i < 5; i++) story.createVm();
    });
    await scrapes(4);
    const then = await query('sum(vfioscope_operation_duration_seconds_count)');
    assert.ok(Number(then[0].value[1]) >= Number(first[0].value[1]) + 4);
    for (const name of ['operation_duration_seconds_count', 'violations_total', 'events_total']) {
      const [resets] = await query(`sum(resets(vfioscope_${name}[1m]))`);
      assert.equal(resets.value[1], '0', name);
    }
  });

  it('reads names back as they are', async () => {
    const [{ metric: device }] = await query('vfioscope_device_info');
    assert.equal(device.parent, 'gpu"0\\');
    const [{ metric: holder }] = await query('vfioscope_device_holder_info');
    assert.equal(holder.comm, 'a"b\\c?d');
  });

  it('leads from a duration and from a violation to the trace', async () => {
    for (const name of [
      'vfioscope_operation_duration_seconds_bucket',
      'vfioscope_violations_total',
    ]) {
      const now = Date.now() / 1000;
      const found = await prometheus.get<{ exemplars: { labels: Record<string, string> }[] }[]>(
        'query_exemplars',
        { query: name, start: '0', end: String(now) },
      );
      const ids = found.flatMap(({ exemplars }) => exemplars.map(({ labels }) => labels.trace_id));
      assert.ok(ids.length > 0, name);
      assert.deepEqual([...new Set(ids)], [TRACE], name);
    }
  });

  it('joins a device with what it is', async () => {
    const [{ metric }] = await query(
      'vfioscope_device_open_files * on (instance, device) group_left (parent, type) vfioscope_device_info',
    );
    assert.equal(metric.parent, 'gpu"0\\');
  });

  it('understands every example query, and knows every metric that the story has', async () => {
    for (const { name, type, query: example } of METRICS) {
      await prometheus.get('query', { query: example });
      const series = type === 'histogram' || type === 'summary' ? `${name}_count` : name;
      if (new RegExp(`^${series}[ {]`, 'm').test(await telling.text())) await query(series);
    }
  });
});
