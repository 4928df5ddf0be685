/** /metrics: negotiates format and encoding. */
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import type { FastifyInstance } from 'fastify';
import Negotiator from 'negotiator';
import { CONTENT_TYPE, type Format } from '../telemetry/metrics/exposition.ts';
import type { Metrics } from '../telemetry/metrics.ts';

/** Runs on another thread, so that the event loop continues to read events. */
const compress = promisify(gzip);

/**
 * The formats offered, the first one to clients that accept any. Prometheus 3 adds to the media type
 * how to escape names with special characters, which none of our names has.
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

/** Adds the route. */
export function serveMetrics(server: FastifyInstance, metrics: Metrics): void {
  server.get('/metrics', async (request, reply) => {
    const wanted = new Negotiator(request.raw);
    // Every scraper can read the text format, so it is the answer to any other wish.
    const format = OFFERS.get(wanted.mediaType(TYPES) ?? '') ?? 'text';
    const document = await metrics.scrape(format);
    reply.type(CONTENT_TYPE[format]).header('vary', 'accept, accept-encoding');
    if (wanted.encoding(ENCODINGS) !== 'gzip') return document;
    const compressed = await compress(document, { level: constants.Z_BEST_SPEED });
    reply.header('content-encoding', 'gzip');
    return compressed;
  });
}
