/** /metrics: which format and encoding a scraper gets. */
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import type { FastifyInstance } from 'fastify';
import Negotiator from 'negotiator';
import { CONTENT_TYPE, type Format } from '../telemetry/metrics/exposition.ts';
import type { Metrics } from '../telemetry/metrics.ts';

/** Runs on a thread of its own, so that events are read meanwhile. */
const compress = promisify(gzip);

/**
 * What is offered, the first to those who take anything. Prometheus 3 says with its types how names
 * are to be escaped that are not plain: ours are.
 */
const OFFERS: ReadonlyMap<string, Format> = new Map([
  ['text/plain; version=0.0.4', 'text'],
  ['application/openmetrics-text; version=1.0.0', 'openmetrics'],
  ...['allow-utf-8', 'underscores', 'dots', 'values'].map(
    (escaping) =>
      [`application/openmetrics-text; version=1.0.0; escaping=${escaping}`, 'openmetrics'] as const,
  ),
]);
const TYPES = [...OFFERS.keys()];
const ENCODINGS = ['gzip', 'identity'];

/** Serves them at /metrics. */
export function serveMetrics(server: FastifyInstance, metrics: Metrics): void {
  server.get('/metrics', async (request, reply) => {
    const wanted = new Negotiator(request.raw);
    // Who asks for what there is not gets what every scraper can read.
    const format = OFFERS.get(wanted.mediaType(TYPES) ?? '') ?? 'text';
    const document = await metrics.scrape(format);
    reply.type(CONTENT_TYPE[format]).header('vary', 'accept, accept-encoding');
    if (wanted.encoding(ENCODINGS) !== 'gzip') return document;
    const compressed = await compress(document, { level: constants.Z_BEST_SPEED });
    reply.header('content-encoding', 'gzip');
    return compressed;
  });
}
