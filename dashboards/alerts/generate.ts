/**
 * Writes the rules, their tests, docs/alerts.md and docs/runbooks. With --check it only verifies that
 * the committed files are current, and exits with 1 when one is not, or when a runbook has no alert.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { alertFiles, RUNBOOKS } from './files.ts';

const root = new URL('../../', import.meta.url);
const runbooks = new URL(`${RUNBOOKS}/`, root);
const files = alertFiles();

mkdirSync(runbooks, { recursive: true });
const stray = readdirSync(runbooks)
  .map((name) => `${RUNBOOKS}/${name}`)
  .filter((path) => !files.has(path));
if (process.argv.includes('--check')) {
  const stale = [...files.keys()].filter((path) => textOf(path) !== files.get(path));
  for (const path of [...stale, ...stray]) {
    console.error(`${path} does not match dashboards/alerts: run \`npm run generate\``);
    process.exitCode = 1;
  }
} else {
  for (const path of stray) rmSync(new URL(path, root));
  for (const [path, text] of files) writeFileSync(new URL(path, root), text);
}

function textOf(path: string): string {
  const file = new URL(path, root);
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}
