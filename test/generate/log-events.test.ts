/** That each log line has an event, and that docs/logs.md lists all of them. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { it } from 'node:test';
import { LOG_EVENTS } from '../../src/telemetry/log-events.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const SOURCES = globSync('{src,agent}/**/*.ts', { cwd: ROOT })
  .filter((file) => !file.endsWith('.test.ts'))
  .map((file) => [file, readFileSync(`${ROOT}/${file}`, 'utf8')] as const);
const LISTED = LOG_EVENTS.flatMap(({ events }) => events);

/** Calls of a logger, up to their first argument. */
const CALL =
  /\blog(?:\.(?:debug|info|warn|error|fatal)|\[[^\]]+\])\(\s*(\{\s*event: |\w+[,)]|\{ ?\.\.\.fields|)/g;

it('each log line has an event', () => {
  let calls = 0;
  for (const [file, text] of SOURCES) {
    for (const [call, argument] of text.matchAll(CALL)) {
      calls++;
      assert.ok(/event: |fields/.test(argument), `${file}: ${call}`);
    }
  }
  assert.ok(calls > 30, `${calls}`);
});

it('the list of events is that of the lines', () => {
  const written = SOURCES.flatMap(([, text]) =>
    [...text.matchAll(/\bevent: '([a-z_]+\.[a-z_]+)'/g)].map(([, event]) => event),
  );
  const changes = ['raised', 'repeated', 'escalated', 'waiters_found', 'resolved'];
  assert.deepEqual(
    [...new Set([...written, ...changes.map((change) => `violation.${change}`)])].sort(),
    LISTED.toSorted(),
  );
  assert.equal(new Set(LISTED).size, LISTED.length);
});
