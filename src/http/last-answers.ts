/** Whoever is being answered when the server closes gets the whole answer. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';

/** How long a client may take to read its answer when the server closes, ms. */
const PATIENCE = 1000;

/**
 * Makes close() wait for answers that are under way; what comes meanwhile is refused. Node itself
 * would cut off every answer that is complete but not yet read.
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
