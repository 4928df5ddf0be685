import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import { UserProblem } from '../../src/problem.ts';
import { listenProblem } from './run.ts';

/** What Node reports when it cannot listen there. */
function failure(host: string, port = 0): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', resolve);
    server.listen({ host, port }, () => {
      server.close();
      reject(new Error(`it listens on ${host}`));
    });
  });
}

describe('an address that nothing can listen on', () => {
  for (const [title, host] of [
    ['link-local, without its interface', 'fe80::1'],
    ['of another host', '192.0.2.1'],
    ['with a name that nobody knows', 'no-such-host.invalid'],
  ] as const) {
    it(`is reported as such: ${title}`, async () => {
      const problem = listenProblem(await failure(host), `${host}:1`);
      assert.ok(problem instanceof UserProblem);
      assert.equal(problem.code, 'listen.unavailable');
      assert.ok(problem.message.includes(host));
    });
  }

  it('is something else than any other failure', () => {
    const error = new Error('a bug');
    assert.equal(listenProblem(error, 'a:1'), error);
  });
});
