// SPDX-License-Identifier: Apache-2.0
/** A collector that is unreachable, slow or refusing costs only spans, which are counted as dropped. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { type AddressInfo, createServer as createSocket, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setImmediate as immediately, setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { IngestState } from '../../agent/runtime/ingest-state.ts';
import type { OtlpExport } from '../../agent/runtime/otlp-export.ts';
import { Pipeline } from '../../agent/runtime/pipeline.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { LINUX_6_12 } from '../../src/scenario/kernels.ts';
import { Scenario } from '../../src/scenario/scenario.ts';
import { Measured } from '../kit/measured.ts';
import { SUITE_MS, until } from '../until.ts';
import { exportUnder, follow, playTo } from './replayed.ts';

const HOST = { traits: LINUX_6_12, pidsWithKvmFiles: () => undefined };
const QUICK = { OTEL_BSP_SCHEDULE_DELAY: '10', OTEL_BLRP_SCHEDULE_DELAY: '10' };
/** Tried again once or twice; a busy machine needs some of it to connect at all. */
const IMPATIENT = { ...QUICK, OTEL_EXPORTER_OTLP_TIMEOUT: '2000' };
/** Sending ends only with an answer. */
const PATIENT = {
  ...QUICK,
  OTEL_EXPORTER_OTLP_TIMEOUT: '600000',
  OTEL_BSP_EXPORT_TIMEOUT: '600000',
  OTEL_BLRP_EXPORT_TIMEOUT: '600000',
};

/** Listens while `use` runs. */
async function serving<Result>(
  server: Server,
  use: (port: number) => Promise<Result>,
): Promise<Result> {
  const sockets = new Set<{ destroy(): void }>();
  server.on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await use((server.address() as AddressInfo).port);
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
}

function answering(status: number): Server {
  const answer: RequestListener = (request, response) => {
    request.resume();
    request.on('end', () => response.writeHead(status).end());
  };
  return createServer(answer);
}

async function freePort(): Promise<number> {
  return serving(createSocket(), async (port) => port);
}

/** The records of device lifecycles, as the kernel writes them. */
function* objects(count: number): Generator<readonly Uint8Array[]> {
  for (let i = 0; i < count; i++) {
    const scenario = new Scenario();
    const device = scenario.create(scenario.parent({ name: `p${i}` }));
    scenario.close(scenario.open(device));
    scenario.remove(device);
    yield scenario.steps.filter((step) => step instanceof Uint8Array);
  }
}

/** Plays many lifecycles, with a pause for the exporters after each hundred. @returns spans and records */
async function playLifecycles(otlp: OtlpExport | undefined, count: number): Promise<void> {
  const state = new IngestState({ bootId: 'boot', endedObjects: 100 });
  const traces = otlp && follow(otlp, state, 1.763e18);
  const pipeline = new Pipeline(state, {
    rules: { rules: [], host: HOST },
    sinks: traces ? [traces] : [],
  });
  let played = 0;
  for (const records of objects(count)) {
    for (const bytes of records) pipeline.record(new EventCursor(bytes.buffer as ArrayBuffer));
    traces?.end();
    if (++played % 100 === 0) await immediately();
  }
}

function heapInUse(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
}

type Counts = OtlpExport['counts'];

const FAILED = (counts: Counts) =>
  counts.of('traces', 'failed') > 100 && counts.of('logs', 'failed') > 10;
const SENT = (counts: Counts) => counts.of('traces', 'sent') > 100;

/**
 * What it says about what it could not send, once it has been asked to stop.
 * @param isOver the condition on the counts that has to hold before that
 */
async function afterTrouble(
  variables: Readonly<Record<string, string>>,
  isOver: (counts: Counts) => boolean = () => true,
) {
  const { otlp, lines } = await exportUnder(variables);
  assert.ok(otlp);
  const { counts } = otlp;
  await playTo(otlp, '6.12');
  await until('it has failed or was sent', () => isOver(counts), {
    more: () => ` (${JSON.stringify(lines.at(-1))})`,
  });
  const isFlushed = await otlp.stop();
  const dropped = lines.find(({ event }) => event === 'otlp.dropped');
  return { counts, lines, dropped, isFlushed };
}

describe('a collector', { timeout: SUITE_MS }, () => {
  for (const protocol of ['http/protobuf', 'grpc']) {
    it(`that is unreachable costs the items for it, which are counted and logged: ${protocol}`, async () => {
      const endpoint = `http://127.0.0.1:${await freePort()}`;
      const { counts, dropped } = await afterTrouble(
        {
          ...IMPATIENT,
          ...{ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: protocol },
        },
        FAILED,
      );
      assert.equal(counts.of('traces', 'sent'), 0);
      assert.equal(dropped?.spans, counts.dropped('traces'));
      assert.match(
        String(dropped?.msg),
        /could not be sent and were dropped: .*(ECONNREFUSED|UNAVAILABLE|deadline)/i,
      );
    });
  }

  for (const status of [400, 401, 404, 429, 503]) {
    it(`that answers ${status} costs the items for it`, async () => {
      await serving(answering(status), async (port) => {
        const endpoint = `http://127.0.0.1:${port}`;
        const { counts, dropped } = await afterTrouble(
          { ...IMPATIENT, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint },
          FAILED,
        );
        assert.equal(counts.of('traces', 'sent'), 0);
        assert.equal(dropped?.spans, counts.dropped('traces'));
      });
    });
  }

  it('that never answers does not keep the agent from stopping', async () => {
    await serving(createSocket(), async (port) => {
      // The test would not return if stopping waited for the answer: sending has no time limit here.
      const { isFlushed, lines } = await afterTrouble({
        ...PATIENT,
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      });
      assert.equal(isFlushed, false);
      assert.ok(lines.some(({ event }) => event === 'otlp.shutdown_timeout'));
    });
  });

  it('that never answers costs the memory of a queue, and items that do not fit are counted', async () => {
    await serving(createSocket(), async (port) => {
      const { otlp } = await exportUnder({
        ...{ ...PATIENT, OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` },
      });
      assert.ok(otlp);
      await playLifecycles(otlp, 2000);
      const before = heapInUse();
      await playLifecycles(otlp, 20_000);
      const grown = heapInUse() - before;
      assert.ok(otlp.counts.of('traces', 'queue_full') > 50_000);
      // The requests in flight vary by megabytes; a span of each lifecycle would need 20 MB.
      assert.ok(grown < 2 ** 24, `${grown} bytes more after 20,000 more lifecycles`);
      await otlp.stop();
    });
  });
});

describe('metrics', { timeout: SUITE_MS }, () => {
  const ALONE = {
    OTEL_METRICS_EXPORTER: 'otlp',
    ...{ OTEL_TRACES_EXPORTER: 'none', OTEL_LOGS_EXPORTER: 'none' },
  };

  for (const protocol of ['http/protobuf', 'grpc']) {
    it(`for a collector that is unreachable are counted and logged: ${protocol}`, async () => {
      const { otlp, lines } = await exportUnder({
        ...{ ...ALONE, ...IMPATIENT, OTEL_EXPORTER_OTLP_PROTOCOL: protocol },
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${await freePort()}`,
      });
      assert.ok(otlp);
      const { metrics } = new Measured();
      otlp.measure({ read: () => metrics.read(), failed: assert.fail });
      await otlp.stop();
      assert.ok(otlp.counts.of('metrics', 'failed') > 100);
      assert.equal(otlp.counts.of('metrics', 'sent'), 0);
      const dropped = lines.find(({ event }) => event === 'otlp.dropped');
      assert.equal(dropped?.points, otlp.counts.dropped('metrics'));
      assert.match(
        String(dropped?.msg),
        /data points of metrics could not be sent and were dropped: .*(ECONNREFUSED|UNAVAILABLE|deadline)/i,
      );
    });
  }

  it('are not read any more once the agent has stopped, although the collector never answers', async () => {
    await serving(createSocket(), async (port) => {
      const { otlp, lines } = await exportUnder({
        ...{ ...ALONE, OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` },
        ...{ OTEL_METRIC_EXPORT_INTERVAL: '100', OTEL_EXPORTER_OTLP_TIMEOUT: '600000' },
      });
      assert.ok(otlp);
      const { metrics } = new Measured();
      let reads = 0;
      otlp.measure({
        read: () => {
          reads++;
          return metrics.read();
        },
        failed: assert.fail,
      });
      await until('a request waits, and others are dropped', () => {
        return otlp.counts.of('metrics', 'queue_full') > 0;
      });
      await otlp.stop();
      const before = reads;
      await setTimeout(500);
      assert.equal(reads, before);
      assert.ok(lines.some(({ event }) => event === 'otlp.dropped'));
    });
  });
});

describe('TLS', { timeout: SUITE_MS }, () => {
  let directory: string;
  const file = (name: string) => join(directory, name);
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'vfioscope-tls-'));
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
        ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
        ...['-days', '2', '-keyout', file('key.pem'), '-out', file('cert.pem')],
      ],
      { stdio: 'ignore' },
    );
  });
  after(() => rmSync(directory, { recursive: true }));

  const secure = () =>
    createSecureServer(
      {
        ...{ key: readFileSync(file('key.pem')), cert: readFileSync(file('cert.pem')) },
        // What gRPC asks for, too.
        ALPNProtocols: ['h2', 'http/1.1'],
      },
      (request, response) => {
        request.resume();
        request.on('end', () => response.writeHead(200).end());
      },
    );

  for (const protocol of ['http/protobuf', 'grpc']) {
    it(`with an untrusted certificate of the collector costs the items for it, and logs why: ${protocol}`, async () => {
      await serving(secure(), async (port) => {
        const endpoint = `https://localhost:${port}`;
        const { counts, dropped } = await afterTrouble(
          {
            ...{ ...IMPATIENT, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint },
            OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
          },
          FAILED,
        );
        assert.equal(counts.of('traces', 'sent'), 0);
        assert.equal(dropped?.spans, counts.dropped('traces'));
        assert.match(String(dropped?.msg), /self-signed certificate/);
      });
    });
  }

  it('with a collector without TLS costs the items for it, and logs why', async () => {
    await serving(answering(200), async (port) => {
      const { counts, dropped } = await afterTrouble(
        { ...IMPATIENT, OTEL_EXPORTER_OTLP_ENDPOINT: `https://localhost:${port}` },
        FAILED,
      );
      assert.equal(counts.of('traces', 'sent'), 0);
      assert.match(String(dropped?.msg), /SSL|EPROTO/i);
    });
  });

  it('works with the configured certificate authority', async () => {
    await serving(secure(), async (port) => {
      const { counts } = await afterTrouble(
        {
          ...{ ...PATIENT, OTEL_EXPORTER_OTLP_ENDPOINT: `https://localhost:${port}` },
          OTEL_EXPORTER_OTLP_CERTIFICATE: file('cert.pem'),
        },
        (counts) => SENT(counts) || counts.dropped('traces') > 0,
      );
      assert.equal(counts.dropped('traces'), 0);
      assert.ok(SENT(counts));
    });
  });
});

describe('variables of OpenTelemetry', () => {
  it('with invalid values are logged and ignored, and the others are used', async () => {
    await serving(answering(200), async (port) => {
      const { lines, counts } = await afterTrouble(
        {
          OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
          OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
          OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: 'soon',
          OTEL_EXPORTER_OTLP_CERTIFICATE: '/no/such/file.pem',
          OTEL_EXPORTER_OTLP_HEADERS: 'secret',
          OTEL_TRACES_SAMPLER: 'sometimes',
          OTEL_TRACES_SAMPLER_ARG: '7',
          OTEL_BSP_MAX_QUEUE_SIZE: '-1',
          OTEL_SDK_DISABLED: 'perhaps',
        },
        SENT,
      );
      const ignored = lines.filter(({ event }) => event === 'otlp.setting_ignored');
      assert.deepEqual(
        ignored.map(({ msg }) => msg),
        [
          'the environment variable OTEL_EXPORTER_OTLP_PROTOCOL must be one of http/protobuf, grpc, not "http/json"; it is ignored',
          'the environment variable OTEL_EXPORTER_OTLP_TRACES_TIMEOUT must be a whole number above 0, not "soon"; it is ignored',
          'the environment variable OTEL_EXPORTER_OTLP_CERTIFICATE names /no/such/file.pem, which cannot be read (ENOENT); it is ignored',
          'the environment variable OTEL_EXPORTER_OTLP_HEADERS must be KEY=VALUE, separated by commas; it is ignored',
          'the environment variable OTEL_TRACES_SAMPLER must be one of always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio, not "sometimes"; it is ignored',
          'the environment variable OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, not "7"; it is ignored',
          'the environment variable OTEL_BSP_MAX_QUEUE_SIZE must be a whole number above 0, not "-1"; it is ignored',
          'the environment variable OTEL_SDK_DISABLED must be one of true, false, not "perhaps"; it is ignored',
        ],
      );
      assert.ok(counts.of('traces', 'sent') > 100);
    });
  });

  for (const [protocol, endpoint] of [
    ['http/protobuf', 'localhost:4318'],
    ['http/protobuf', 'ftp://localhost:4318'],
    ['http/protobuf', 'https://localhost:99999'],
    ['grpc', 'unix:/run/collector.sock'],
    ['grpc', 'https://localhost:99999'],
  ] as const) {
    it(`without a valid address send nothing, and are logged: ${endpoint} over ${protocol}`, async () => {
      const { otlp, lines } = await exportUnder({
        ...{ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: protocol },
        // Not ours: it may be meant for others.
        OTEL_PROPAGATORS: 'no-such',
      });
      assert.equal(otlp, undefined);
      assert.deepEqual(
        lines.map(({ msg }) => msg),
        [
          `the environment variable OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://127.0.0.1:4318; it is ignored`,
        ],
      );
    });
  }

  it('may be in the configuration file, and those of the environment take precedence', async () => {
    await serving(answering(200), async (port) => {
      const file = {
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
        OTEL_BSP_MAX_QUEUE_SIZE: 64,
        OTEL_TRACES_EXPORTER: 'none',
      };
      const { otlp } = await exportUnder({ OTEL_TRACES_EXPORTER: 'otlp' }, file);
      assert.ok(otlp);
      await playLifecycles(otlp, 90);
      assert.ok(otlp.counts.of('traces', 'queue_full') > 0);
      await otlp.stop();
      assert.ok(otlp.counts.of('traces', 'sent') >= 64);
    });
  });

  it('choose whole traces by their ids', async () => {
    await serving(answering(200), async (port) => {
      const { counts } = await afterTrouble(
        {
          OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
          ...{ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0' },
        },
        (counts) => counts.of('logs', 'sent') > 0,
      );
      assert.equal(counts.of('traces', 'sent'), 0);
      assert.ok(counts.of('logs', 'sent') > 0);
    });
  });

  for (const [title, variables] of [
    ['are not set', {}],
    [
      'name a collector, and disable it',
      {
        OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
        OTEL_SDK_DISABLED: 'true',
      },
    ],
    [
      'name a collector, and no exporter',
      {
        OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
        ...{ OTEL_TRACES_EXPORTER: 'none', OTEL_LOGS_EXPORTER: 'none' },
      },
    ],
  ] as const) {
    it(`load nothing when they ${title}`, () => {
      const program = `
        import { registerHooks } from 'node:module';
        const loaded = [];
        registerHooks({ resolve(name, context, next) { loaded.push(name); return next(name, context); } });
        const { startOtlpExport } = await import('./agent/runtime/otlp-export.ts');
        const otlp = await startOtlpExport({}, {});
        console.log(JSON.stringify({ otlp, otel: loaded.filter((name) => name.includes('opentelemetry')) }));
      `;
      const env = { PATH: process.env.PATH, ...variables };
      const output = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
        env,
      });
      assert.deepEqual(JSON.parse(output.toString()), { otel: [] });
    });
  }
});

it('a slow collector does not slow down the pipeline', { timeout: SUITE_MS }, async () => {
  const unanswered: ServerResponse[] = [];
  let isSlow = true;
  const slow = createServer((request, response) => {
    request.resume();
    request.on('end', () => (isSlow ? unanswered.push(response) : response.end()));
  });
  await serving(slow, async (port) => {
    const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` };
    const { otlp } = await exportUnder({ ...PATIENT, ...endpoint });
    assert.ok(otlp);
    await until('the collector has requests', async () => {
      await playLifecycles(otlp, 100);
      return unanswered.length > 0;
    });
    // This would not return if anything waited for an answer.
    await playLifecycles(otlp, 3000);
    assert.equal(otlp.counts.of('traces', 'sent'), 0);
    isSlow = false;
    for (const response of unanswered) response.end();
    await until('sending continues', () => otlp.counts.of('traces', 'sent') > 0);
    await otlp.stop();
  });
});
