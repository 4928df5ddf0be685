/** Debian's Prometheus scrapes the server, in both formats. */
import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { needing } from '../../test/kit/needs.ts';
import { Served } from '../../test/kit/served.ts';
import { TimeSeries } from '../../test/time-series.ts';
import { SUITE_MS, until } from '../../test/until.ts';
import { METRICS } from '../telemetry/metrics/catalogue.ts';

const { after, before, describe, it } = needing('prometheus');

/** Also how long a scrape may take, which on a busy machine is more than some ms. */
const SCRAPE_S = 1;
const TRACE = '0af7651916cd43dd8448eb211c80319c';

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

/** The content types of the answers so far. */
const answered: string[] = [];
let runner: Served;
let prometheus: TimeSeries;

/** What an instant query answers, once it answers anything. */
async function query(expression: string): Promise<readonly Sample[]> {
  let found: readonly Sample[] = [];
  await until(`Prometheus has something for ${expression}`, async () => {
    const { result } = await prometheus.get<{ result: Sample[] }>('query', { query: expression });
    found = result;
    return found.length > 0;
  });
  return found;
}

/** Until the server has been scraped so many times more. */
async function scrapes(count: number): Promise<void> {
  const enough = answered.length + count;
  while (answered.length < enough) await setTimeout(20);
}

before(async () => {
  runner = new Served({ traceIdOf: () => TRACE });
  runner.run((scenario) => {
    const parent = scenario.parent({ name: 'gpu"0\\' });
    const device = scenario.create(parent);
    scenario.createFails(parent, 28);
    const as = { pid: 600, comm: 'a"b\\c\nd' };
    scenario.open(device, { vm: scenario.createVm({ as }), as });
    scenario.removeBegins(device, { as: { pid: 700, comm: 'bash' } });
    scenario.wait(11);
  });
  // Every other scrape is made by one who knows the text format only.
  runner.server.addHook('onRequest', async ({ raw }) => {
    if (answered.length % 2 === 1) raw.headers.accept = 'text/plain;version=0.0.4';
  });
  runner.server.addHook('onSend', async (_request, reply) => {
    answered.push(String(reply.getHeader('content-type')).split(';')[0]);
  });
  const target = (await runner.server.listen({ host: '127.0.0.1', port: 0 })).slice(7);
  prometheus = await TimeSeries.prometheus([{ address: target }], `${SCRAPE_S}s`);
  await scrapes(4);
});

after(async () => {
  await prometheus.stop();
  await runner.server.close();
});

describe('a real Prometheus', { timeout: SUITE_MS }, () => {
  it('accepts every scrape, in both formats', async () => {
    const [up] = await query('min_over_time(up[1m])');
    assert.equal(up.value[1], '1');
    assert.deepEqual(answered.slice(0, 4), [
      ...['application/openmetrics-text', 'text/plain'],
      ...['application/openmetrics-text', 'text/plain'],
    ]);
  });

  it('finds the same series, whatever the format', async () => {
    await scrapes(4);
    // Only OpenMetrics says since when a series counts, which Prometheus 2 stores as a series.
    const matcher = '{__name__=~"vfioscope.+",__name__!~".+_created"}';
    const series = (await prometheus.get<object[]>('series', { 'match[]': matcher })).length;
    const lines = (await runner.text()).matchAll(/^vfioscope\S+ |^vfioscope.*\} \S+$/gm);
    assert.equal(series, [...lines].length);
    // The changes of format must not have made gaps either: each scrape has all of them.
    const count = `count(${matcher})[${4 * SCRAPE_S}s:100ms]`;
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

  it('has counters that grow when the format changes', async () => {
    runner.run((scenario) => scenario.createVm());
    const first = await query('sum(vfioscope_operation_duration_seconds_count)');
    runner.run((scenario) => {
      for (let i = 0; i < 5; i++) scenario.createVm();
    });
    await scrapes(4);
    const then = await query('sum(vfioscope_operation_duration_seconds_count)');
    assert.ok(Number(then[0].value[1]) >= Number(first[0].value[1]) + 4);
    for (const name of ['operation_duration_seconds_count', 'violations_total', 'events_total']) {
      const [resets] = await query(`sum(resets(vfioscope_${name}[1m]))`);
      assert.equal(resets.value[1], '0', name);
    }
  });

  it('stores names unchanged', async () => {
    const [{ metric: device }] = await query('vfioscope_device_info');
    assert.equal(device.parent, 'gpu"0\\');
    const [{ metric: holder }] = await query('vfioscope_device_holder_info');
    assert.equal(holder.comm, 'a"b\\c?d');
  });

  it('has exemplars that lead from a duration and from a violation to the trace', async () => {
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

  it('joins a device with its info', async () => {
    const [{ metric }] = await query(
      'vfioscope_device_open_files * on (instance, device) group_left (parent, mdev_type) vfioscope_device_info',
    );
    assert.equal(metric.parent, 'gpu"0\\');
  });

  it('accepts every example query, and has every metric of the scenario', async () => {
    for (const { name, type, query: example } of METRICS) {
      await prometheus.get('query', { query: example });
      const series = type === 'histogram' || type === 'summary' ? `${name}_count` : name;
      if (new RegExp(`^${series}[ {]`, 'm').test(await runner.text())) await query(series);
    }
  });
});
