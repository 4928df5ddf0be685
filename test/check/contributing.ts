// Follows CONTRIBUTING.md literally: applies its snippets to a copy of the tree and runs its commands,
// so that a newcomer who does the same gets a passing build. `npm run check:contributing`

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { applySnippets, commandsOf } from './snippets.ts';

const NOT_COPIED = new Set(['.git', 'node_modules', 'dist']);
const SCRIPT = 'contributing.sh';

const root = new URL('../../', import.meta.url).pathname;
const copy = mkdtempSync(join(tmpdir(), 'vfioscope-contributing-'));
try {
  cpSync(root, copy, {
    recursive: true,
    filter: (path) => !NOT_COPIED.has(path.slice(root.length).split('/')[0]),
  });
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  const document = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8');
  const edited = applySnippets(document, {
    read: (file) => readFileSync(join(copy, file), 'utf8'),
    write: (file, text) => writeFileSync(join(copy, file), text),
  });
  const commands = [
    ...commandsOf(document),
    `npx --no-install biome ci --log-level=error ${edited.join(' ')}`,
  ];
  // Each command is printed, so that the one that fails is the last of them.
  writeFileSync(join(copy, SCRIPT), ['set -ex', ...commands, ''].join('\n'));
  const { status, stdout, stderr } = spawnSync('bash', [SCRIPT], { cwd: copy, encoding: 'utf8' });
  if (status !== 0) {
    console.error(`CONTRIBUTING.md, followed literally, fails:\n${stdout}${stderr}`);
    process.exitCode = 1;
  }
} finally {
  rmSync(copy, { recursive: true });
}
