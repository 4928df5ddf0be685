/** Completes the responses that are being sent when the server closes. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';

/** ms that a client has to read its response when the server closes. */
const PATIENCE = 1000;

/**
 * Makes close() wait for responses that are being sent; requests that arrive meanwhile are refused.
 * Node.js itself would cut off every response that is complete but not yet read.
 */
export function giveLastAnswers(server: FastifyInstance): void {
  const answers = new Set<ServerResponse>();
  server.addHook('onRequest', async (_request, { raw }) => {
    answers.add(raw);
    raw.once('close', () => answers.delete(raw));
  });
  server.addHook('preClose', async () => {
    const all = Promise.all([...answers].map((answer) => once(answer, 'close')));
    await Promise.race([all, setTimeout(PATIENCE, undefined, { ref: false })]);
  });
}
