// A test that lacks something is skipped, with the reason, and counted; in CI it runs, and fails.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { missing } from './needs.ts';

let directory: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'vfioscope-needs-'));
});
after(() => rmSync(directory, { recursive: true }));

/** What node:test says of a test file that needs a program that nobody has. */
function report(environment: Readonly<Record<string, string>>) {
  const file = join(directory, 'needy.test.ts');
  const kit = new URL('./needs.ts', import.meta.url).href;
  writeFileSync(
    file,
    `import { needing } from '${kit}';
     const { before, describe, it } = needing('no-such-program');
     before(() => { throw new Error('begun'); });
     describe('all', () => { it('one', () => {}); it('two', () => {}); });`,
  );
  const { PATH = '' } = process.env;
  return spawnSync(process.execPath, ['--test', '--test-reporter=tap', file], {
    ...{ env: { PATH, ...environment }, encoding: 'utf8' },
  });
}

test('a file whose needs are not met: each of its tests is skipped, counted, and says why', () => {
  const { status, stdout: said } = report({});
  assert.equal(status, 0);
  assert.match(said, /ok 1 - one # SKIP needs the program no-such-program \(Debian package/);
  assert.match(said, /^# skipped 2$/m);
});

test('in CI nothing is skipped for lack of a program', () => {
  const { status, stdout: said } = report({ CI: 'true' });
  assert.notEqual(status, 0);
  assert.match(said, /^# skipped 0$/m);
  assert.match(said, /begun/);
});

test('a program is found in PATH, and named with its Debian package when it is not', () => {
  assert.equal(missing(['node'], join(process.execPath, '..')), false);
  assert.match(missing(['promtool'], '/nowhere') || '', /promtool \(Debian package prometheus\)/);
  assert.match(missing(['a', 'b'], '/nowhere') || '', /program a .*, needs the program b /);
});
