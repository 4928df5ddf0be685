/** /docs: the documentation of the version that runs, above all the runbooks that alerts link to. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { FastifyInstance } from 'fastify';
import { codeOf } from '../errors.ts';

/** Names of pages have no dot, so none leads out of the directory. */
const PAGE = /^(?:[\w-]+\/)*[\w-]+$/;

/**
 * Adds the routes.
 * @param directory with the pages as HTML files
 */
export function serveDocuments(server: FastifyInstance, directory: string): void {
  server.get<{ Params: { '*': string } }>('/docs/*', async ({ params }, reply) => {
    const page = params['*'].replace(/\.html$/, '');
    const text = PAGE.test(page) ? await pageOf(path.join(directory, `${page}.html`)) : undefined;
    if (text === undefined) {
      return reply.code(404).send({ error: `page not found: /docs/${page} (see /docs/alerts)` });
    }
    return reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'")
      .send(text);
  });
}

async function pageOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(codeOf(error))) return undefined;
    throw error;
  }
}
