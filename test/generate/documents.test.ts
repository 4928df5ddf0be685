import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import fastify from 'fastify';
import { buildDocuments } from '../../agent/build-documents.ts';
import { ALERTS } from '../../dashboards/alerts/catalogue.ts';
import { serveDocuments } from '../../src/http/documents.ts';

const DOCS = fileURLToPath(new URL('../../docs', import.meta.url));

let home: string;
const server = fastify();
before(() => {
  home = mkdtempSync(join(tmpdir(), 'vfioscope-documents-'));
  buildDocuments(DOCS, join(home, 'docs'));
  writeFileSync(join(home, 'secret.html'), 'not for everybody');
  serveDocuments(server, join(home, 'docs'));
});
after(() => {
  rmSync(home, { recursive: true });
  return server.close();
});

async function page(url: string) {
  const { statusCode, body, headers } = await server.inject(url);
  return { statusCode, body, type: headers['content-type'] };
}

describe('the documentation that an agent serves', () => {
  it('has the runbook of each alert, with a part for each of its rules', async () => {
    for (const { name, runbook } of ALERTS) {
      const { statusCode, body, type } = await page(`/docs/runbooks/${name}`);
      assert.equal(statusCode, 200, name);
      assert.equal(type, 'text/html; charset=utf-8');
      assert.match(body, new RegExp(`<h1 id="\\w+">${name}</h1>`));
      for (const rule of runbook.rules ?? [])
        assert.ok(body.includes(`<summary><code>${rule}</code>`), rule);
    }
  });

  it('has no link to a page that is not there', async () => {
    const seen = new Set<string>();
    const wanted = ['/docs/alerts', '/docs/metrics', '/docs/configuration'];
    for (let url = wanted.pop(); url !== undefined; url = wanted.pop()) {
      if (seen.has(url)) continue;
      seen.add(url);
      const { statusCode, body } = await page(url);
      assert.equal(statusCode, 200, url);
      for (const [, href] of body.matchAll(/<a href="([^"]+)"/g)) {
        if (/^(https?:|#)/.test(href)) continue;
        wanted.push(new URL(href.split('#')[0], `http://agent${url}`).pathname);
      }
    }
    assert.ok(seen.size > 80, `${seen.size}`);
  });

  for (const path of [
    '../secret',
    '..%2fsecret',
    '%2e%2e/secret',
    'runbooks/../../secret',
    '/etc/passwd',
    'runbooks',
    'runbooks/Nothing',
    'rules/remove-stall%00',
    '',
  ]) {
    it(`has no page /docs/${path}`, async () => {
      const { statusCode, body } = await page(`/docs/${path}`);
      assert.equal(statusCode, 404);
      assert.doesNotMatch(body, /not for everybody/);
    });
  }
});

describe('a page', () => {
  it('shows what Markdown would take for HTML as text', () => {
    const from = join(home, 'from');
    mkdirSync(from);
    writeFileSync(
      join(from, 'a.md'),
      '# A\n\n`<script>` &amp; [b](b.md#c-d), [gone](gone.md), [x](../src/x.ts)\n',
    );
    writeFileSync(join(from, 'b.md'), '# B\n\n## C & `d`\n');
    buildDocuments(from, join(home, 'to'));
    const [a, b] = ['a', 'b'].map((name) => readFileSync(join(home, 'to', `${name}.html`), 'utf8'));
    assert.match(a, /<code>&lt;script&gt;<\/code> &amp; <a href="b#c-d">b<\/a>, gone, x/);
    assert.match(b, /<h2 id="c--d">/);
  });
});
