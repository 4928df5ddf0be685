// SPDX-License-Identifier: Apache-2.0
/** A collector that is not there, is slow or refuses costs spans, which are counted, and nothing else. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { type AddressInfo, createServer as createSocket, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setImmediate as immediately, setTimeout as pause } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Pipeline } from '../../agent/runtime/pipeline.ts';
import type { Tracing } from '../../agent/runtime/tracing.ts';
import { EventCursor } from '../../src/events/cursor.ts';
import { Story } from '../../src/rules/story.ts';
import { follow, playTo, tracingUnder } from './replayed.ts';

const HOST = { kernel: [6, 12] as const, pidsWithKvmFiles: () => undefined };
const QUICK = { OTEL_BSP_SCHEDULE_DELAY: '10', OTEL_BLRP_SCHEDULE_DELAY: '10' };
const IMPATIENT = { ...QUICK, OTEL_EXPORTER_OTLP_TIMEOUT: '300' };

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

/** Lives of devices, as the kernel tells them. */
function* lives(count: number): Generator<readonly Uint8Array[]> {
  for (let i = 0; i < count; i++) {
    const story = new Story();
    const device = story.create(story.parent({ name: `p${i}` }));
    story.close(story.open(device));
    story.remove(device);
    yield story.steps.filter((step) => step instanceof Uint8Array);
  }
}

/** Tells many lives, with a pause for the exporters after each hundred. @returns spans and records */
async function tellLives(tracing: Tracing | undefined, count: number): Promise<void> {
  const pipeline = new Pipeline({ endedLives: 100 }, { rules: [], host: HOST }, 'boot');
  const traces = tracing && follow(tracing, pipeline, 1.763e18);
  let told = 0;
  for (const records of lives(count)) {
    for (const bytes of records) pipeline.record(new EventCursor(bytes.buffer as ArrayBuffer));
    traces?.endOver();
    if (++told % 100 === 0) await immediately();
  }
}

function heapInUse(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
}

/** What it says about what it could not send, once it has been asked to stop. */
async function afterTrouble(variables: Readonly<Record<string, string>>) {
  const { tracing, lines } = await tracingUnder(variables);
  assert.ok(tracing);
  await playTo(tracing, '6.12');
  const began = performance.now();
  const isDone = await tracing.stop();
  const took = performance.now() - began;
  const dropped = lines.find(({ event }) => event === 'otlp.dropped');
  return { counts: tracing.counts, lines, dropped, isDone, took };
}

describe('a collector', { timeout: 120_000 }, () => {
  for (const protocol of ['http/protobuf', 'grpc']) {
    it(`that is not there costs what was for it, which is counted and told: ${protocol}`, async () => {
      const endpoint = `http://127.0.0.1:${await freePort()}`;
      const { counts, dropped } = await afterTrouble({
        ...IMPATIENT,
        ...{ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: protocol },
      });
      assert.ok(counts.of('traces', 'failed') > 100);
      assert.ok(counts.of('logs', 'failed') > 10);
      assert.equal(counts.of('traces', 'sent'), 0);
      assert.equal(dropped?.spans, counts.dropped('traces'));
      assert.match(
        String(dropped?.msg),
        /were not sent to the collector: .*(ECONNREFUSED|UNAVAILABLE|deadline)/i,
      );
    });
  }

  for (const status of [400, 401, 404, 429, 503]) {
    it(`that answers ${status} costs what was for it`, async () => {
      await serving(answering(status), async (port) => {
        const endpoint = `http://127.0.0.1:${port}`;
        const { counts, dropped } = await afterTrouble({
          ...{ ...IMPATIENT, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint },
        });
        assert.ok(counts.of('traces', 'failed') > 100);
        assert.equal(counts.of('traces', 'sent'), 0);
        assert.equal(dropped?.spans, counts.dropped('traces'));
      });
    });
  }

  it('that never answers does not keep the agent from stopping', async () => {
    await serving(createSocket(), async (port) => {
      const { isDone, took, lines } = await afterTrouble({
        ...QUICK,
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      });
      assert.equal(isDone, false);
      assert.ok(took < 7000, `${took} ms`);
      assert.ok(lines.some(({ event }) => event === 'otlp.cut_off'));
    });
  });

  it('that never answers costs a queue of memory, and what does not fit is counted', async () => {
    await serving(createSocket(), async (port) => {
      const { tracing } = await tracingUnder({
        ...{ ...QUICK, OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` },
      });
      assert.ok(tracing);
      await tellLives(tracing, 2000);
      const before = heapInUse();
      await tellLives(tracing, 20_000);
      const grown = heapInUse() - before;
      assert.ok(tracing.counts.of('traces', 'queue_full') > 50_000);
      // What is just being sent comes and goes by megabytes; a span of each life would be 20 of them.
      assert.ok(grown < 2 ** 24, `${grown} bytes more after 20,000 lives more`);
      await tracing.stop();
    });
  });
});

describe('TLS', { timeout: 120_000 }, () => {
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
    it(`of a collector whose certificate nobody vouches for costs what was for it, and says why: ${protocol}`, async () => {
      await serving(secure(), async (port) => {
        const endpoint = `https://localhost:${port}`;
        const { counts, dropped } = await afterTrouble({
          ...{ ...IMPATIENT, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint },
          OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
        });
        assert.equal(counts.of('traces', 'sent'), 0);
        assert.equal(dropped?.spans, counts.dropped('traces'));
        assert.match(String(dropped?.msg), /self-signed certificate/);
      });
    });
  }

  it('of a collector that has none costs what was for it, and says why', async () => {
    await serving(answering(200), async (port) => {
      const { counts, dropped } = await afterTrouble({
        ...{ ...IMPATIENT, OTEL_EXPORTER_OTLP_ENDPOINT: `https://localhost:${port}` },
      });
      assert.equal(counts.of('traces', 'sent'), 0);
      assert.match(String(dropped?.msg), /SSL|EPROTO/i);
    });
  });

  it('works with the authority that is given', async () => {
    await serving(secure(), async (port) => {
      const { counts } = await afterTrouble({
        ...{ ...QUICK, OTEL_EXPORTER_OTLP_ENDPOINT: `https://localhost:${port}` },
        OTEL_EXPORTER_OTLP_CERTIFICATE: file('cert.pem'),
      });
      assert.equal(counts.dropped('traces'), 0);
      assert.ok(counts.of('traces', 'sent') > 100);
    });
  });
});

describe('variables of OpenTelemetry', () => {
  it('whose values are none are told and ignored, and the others hold', async () => {
    await serving(answering(200), async (port) => {
      const { lines, counts } = await afterTrouble({
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
        OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
        OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: 'soon',
        OTEL_EXPORTER_OTLP_CERTIFICATE: '/no/such/file.pem',
        OTEL_EXPORTER_OTLP_HEADERS: 'secret',
        OTEL_TRACES_SAMPLER: 'sometimes',
        OTEL_TRACES_SAMPLER_ARG: '7',
        OTEL_BSP_MAX_QUEUE_SIZE: '-1',
        OTEL_SDK_DISABLED: 'perhaps',
      });
      const told = lines.filter(({ event }) => event === 'otlp.setting_ignored');
      assert.deepEqual(
        told.map(({ msg }) => msg),
        [
          'OTEL_EXPORTER_OTLP_PROTOCOL must be one of http/protobuf, grpc, not "http/json"; it is ignored',
          'OTEL_EXPORTER_OTLP_TRACES_TIMEOUT must be a whole number above 0, not "soon"; it is ignored',
          'OTEL_EXPORTER_OTLP_CERTIFICATE names /no/such/file.pem, which cannot be read (ENOENT); it is ignored',
          'OTEL_EXPORTER_OTLP_HEADERS must be KEY=VALUE, several with commas between them; it is ignored',
          'OTEL_TRACES_SAMPLER must be one of always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio, not "sometimes"; it is ignored',
          'OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, not "7"; it is ignored',
          'OTEL_BSP_MAX_QUEUE_SIZE must be a whole number above 0, not "-1"; it is ignored',
          'OTEL_SDK_DISABLED must be one of true, false, not "perhaps"; it is ignored',
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
    it(`that name no address send nothing, and it is told: ${endpoint} over ${protocol}`, async () => {
      const { tracing, lines } = await tracingUnder({
        ...{ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: protocol },
        // Not ours: it may be meant for others.
        OTEL_METRICS_EXPORTER: 'no-such',
      });
      assert.equal(tracing, undefined);
      assert.deepEqual(
        lines.map(({ msg }) => msg),
        [
          `OTEL_EXPORTER_OTLP_ENDPOINT must be an address such as http://127.0.0.1:4318, not "${endpoint}"; it is ignored`,
        ],
      );
    });
  }

  it('may stand in the file, and those of the environment win', async () => {
    await serving(answering(200), async (port) => {
      const file = {
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
        OTEL_BSP_MAX_QUEUE_SIZE: 64,
        OTEL_TRACES_EXPORTER: 'none',
      };
      const { tracing } = await tracingUnder({ OTEL_TRACES_EXPORTER: 'otlp' }, file);
      assert.ok(tracing);
      await tellLives(tracing, 90);
      assert.ok(tracing.counts.of('traces', 'queue_full') > 0);
      await tracing.stop();
      assert.ok(tracing.counts.of('traces', 'sent') >= 64);
    });
  });

  it('choose whole traces by their ids', async () => {
    await serving(answering(200), async (port) => {
      const { counts } = await afterTrouble({
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
        ...{ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0' },
      });
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
        const { startTracing } = await import('./agent/runtime/tracing.ts');
        const tracing = await startTracing({}, {});
        console.log(JSON.stringify({ tracing, otel: loaded.filter((name) => name.includes('opentelemetry')) }));
      `;
      const env = { PATH: process.env.PATH, ...variables };
      const output = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
        env,
      });
      assert.deepEqual(JSON.parse(output.toString()), { otel: [] });
    });
  }
});

it('a slow collector does not slow what is followed', async () => {
  // Unref'd: the test does not wait for what it will never answer.
  const slow = createServer((request, response) => {
    request.resume();
    request.on('end', () => void pause(2000, undefined, { ref: false }).then(() => response.end()));
  });
  await serving(slow, async (port) => {
    const timed = async (tracing: Tracing | undefined) => {
      const began = performance.now();
      await tellLives(tracing, 3000);
      return performance.now() - began;
    };
    const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` };
    const { tracing } = await tracingUnder({ ...QUICK, ...endpoint });
    assert.ok(tracing);
    await timed(tracing);
    const took = await timed(tracing);
    // 3,000 lives of 16 events: at worst ms each if anything waited for it.
    assert.ok(took < 2000, `${took} ms`);
    await tracing.stop();
  });
});
