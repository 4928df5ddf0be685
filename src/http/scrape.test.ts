import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { Served, stalled } from '../../test/kit/served.ts';

const TEXT = 'text/plain; version=0.0.4; charset=utf-8';
const OPENMETRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8';
/** What Prometheus 2.42 and 3.5 send, and VictoriaMetrics. */
const PROMETHEUS_2 =
  'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,' +
  'text/plain;version=0.0.4;q=0.5,*/*;q=0.1';
const PROMETHEUS_3 =
  'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,' +
  'application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,' +
  'text/plain;version=0.0.4;q=0.3,*/*;q=0.2';
const VICTORIA = 'text/plain;version=0.0.4;q=1,*/*;q=0.1';

async function scrape(runner: Served, headers: Record<string, string> = {}) {
  runner.flush();
  const answer = await runner.server.inject({ url: '/metrics', headers });
  const { statusCode, headers: got, body, rawPayload } = answer;
  const { 'content-type': type, 'content-encoding': encoding, vary } = got;
  return { statusCode, type, encoding, vary, body, rawPayload };
}

describe('/metrics', () => {
  it('answers in the format that a scraper prefers', async () => {
    const runner = stalled();
    for (const [accept, expected] of [
      [PROMETHEUS_2, OPENMETRICS],
      [PROMETHEUS_3, OPENMETRICS],
      [PROMETHEUS_3.replaceAll('allow-utf-8', 'underscores'), OPENMETRICS],
      ['application/openmetrics-text', OPENMETRICS],
      [VICTORIA, TEXT],
      ['text/plain', TEXT],
      ['*/*', TEXT],
      ['text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5', TEXT],
      ['application/openmetrics-text;version=1.0.0;q=0, */*', TEXT],
    ]) {
      const { statusCode, type, body, vary } = await scrape(runner, { accept });
      assert.deepEqual([statusCode, type], [200, expected], accept);
      assert.equal(body.endsWith('# EOF\n'), expected === OPENMETRICS, accept);
      assert.equal(vary, 'accept, accept-encoding');
    }
  });

  it('answers in the text format when no known format is accepted', async () => {
    const runner = stalled();
    for (const accept of [
      ...['application/json', 'application/openmetrics-text;version=9.9.9', 'text/html;q=0.9'],
      ...['', ';;;', 'text', ',,,', '/', '*/*;q=much', 'a/b;q=', '"', `${'x/y,'.repeat(3000)}`],
    ]) {
      const { statusCode, type } = await scrape(runner, { accept });
      assert.deepEqual([statusCode, type], [200, TEXT], accept.slice(0, 20));
    }
    assert.equal((await scrape(runner)).type, TEXT);
  });

  it('does not keep one format for the next scrape', async () => {
    const runner = stalled();
    const names = async (accept: string) =>
      (await scrape(runner, { accept })).body.match(/^vfioscope_events_total\{/gm)?.length;
    const counts = [
      ...[await names(VICTORIA), await names(PROMETHEUS_2)],
      ...[await names(VICTORIA), await names(PROMETHEUS_2)],
    ];
    assert.ok(counts[0]);
    assert.deepEqual(counts, Array(4).fill(counts[0]));
  });

  it('compresses if the client accepts gzip, and only then', async () => {
    const runner = stalled();
    const plain = await scrape(runner);
    for (const [wanted, encoding] of [
      ['gzip', 'gzip'],
      ['gzip, deflate, br', 'gzip'],
      ['gzip;q=0, identity', undefined],
      ['br', undefined],
      ['nonsense;;q', undefined],
    ] as const) {
      const got = await scrape(runner, { 'accept-encoding': wanted });
      assert.equal(got.encoding, encoding, wanted);
      const text = encoding ? gunzipSync(got.rawPayload).toString() : got.body;
      const lines = (all: string) => all.match(/^vfioscope/gm)?.length;
      assert.equal(lines(text), lines(plain.body), wanted);
    }
  });

  it('answers concurrent scrapes with a whole document each', async () => {
    const runner = stalled();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        scrape(runner, { accept: i % 2 ? PROMETHEUS_2 : VICTORIA, 'accept-encoding': 'gzip' }),
      ),
    );
    for (const [i, { type, rawPayload }] of answers.entries()) {
      assert.equal(type, i % 2 ? OPENMETRICS : TEXT);
      const text = gunzipSync(rawPayload).toString();
      assert.match(text, /^# HELP vfioscope_devices /);
      assert.match(text, i % 2 ? /\n# EOF\n$/ : /\nnodejs_eventloop_busy_seconds_total \S+\n$/);
    }
  });

  it('shows process names that are not valid UTF-8 as valid text', async () => {
    const runner = new Served();
    const parent = runner.run((scenario) => scenario.parent());
    const names = ['qe"mu\\', 'a\nb\rc', 'Ünïcode', '{x="y"} 1', '# EOF'];
    for (const [i, comm] of names.entries()) {
      runner.run((scenario) => {
        const as = { pid: 600 + i, comm };
        const device = scenario.create(parent);
        scenario.open(device, { vm: scenario.createVm({ as }), as });
        scenario.removeBegins(device);
      });
    }
    runner.run((scenario) => scenario.wait(11));
    const { body } = await scrape(runner);
    const shown = [
      ...body.matchAll(/^vfioscope_device_holder_info\{.*comm="(.*)",systemd_unit=""\} 1$/gm),
    ];
    assert.deepEqual(
      shown.map(([, comm]) => comm),
      [String.raw`qe\"mu\\`, 'a?b?c', 'Ünïcode', String.raw`{x=\"y\"} 1`, '# EOF'],
    );
  });
});

describe('a scrape that fails', () => {
  it('is answered with 500 and reported, and the next one is complete', async () => {
    let fails = true;
    const logLinesDropped = () => (fails ? assert.fail('cannot be read') : 7);
    const runner = new Served({ source: { logLinesDropped } });
    for (const accept of [PROMETHEUS_2, VICTORIA]) {
      const { statusCode, type, body, encoding } = await scrape(runner, {
        ...{ accept, 'accept-encoding': 'gzip' },
      });
      assert.deepEqual([statusCode, encoding], [500, undefined]);
      assert.match(`${type}`, /^application\/json/);
      assert.match(body, /the log of the agent has the details/);
    }
    assert.deepEqual(runner.failures, Array(2).fill('/metrics: cannot be read'));
    fails = false;
    assert.equal((await scrape(runner)).statusCode, 200);
    assert.equal(runner.failures.length, 2);
  });
});

describe('a server that closes', () => {
  /** Has more series than fit into the buffers between client and server. */
  const DEVICES = 20_000;

  /** Asks and reads nothing yet. */
  async function asked(runner: Served): Promise<Socket> {
    runner.run((scenario) => {
      const parent = scenario.parent();
      for (let i = 0; i < DEVICES; i++) scenario.create(parent);
    });
    const { port } = runner.server.server.address() as AddressInfo;
    const client = connect(port, '127.0.0.1').on('error', () => {});
    client.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(client, 'readable');
    return client;
  }
  async function listening(): Promise<Served> {
    const runner = new Served({ maxDevices: DEVICES });
    await runner.server.listen({ host: '127.0.0.1', port: 0 });
    return runner;
  }

  it('completes the responses of scrapes that have begun', async () => {
    const runner = await listening();
    const client = await asked(runner);
    const closed = runner.server.close();
    const pieces: Buffer[] = [];
    for await (const piece of client) pieces.push(piece);
    await closed;
    const tail = Buffer.concat(pieces).toString().slice(-200);
    assert.match(tail, /\nnodejs_eventloop_busy_seconds_total \S+\n$/);
  });

  it('accepts no more scrapes', async () => {
    const runner = await listening();
    const client = await asked(runner);
    const { port } = runner.server.server.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/metrics`;
    const closed = runner.server.close();
    assert.equal((await fetch(url)).status, 503);
    client.destroy();
    await closed;
    await assert.rejects(fetch(url));
  });

  it('does not wait for a client that does not read', { timeout: 300_000 }, async () => {
    const runner = await listening();
    const client = await asked(runner);
    await runner.server.close();
    client.destroy();
  });
});
