/**
 * Writes the dashboards as JSON, which Grafana imports, beside this file. With --check it only verifies
 * that the committed files are current, and exits with 1 when one is not.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { BOARDS } from './catalogue.ts';
import { boardJson } from './mixin/board.ts';
import { DEFAULT_SETTINGS } from './mixin/settings.ts';

for (const board of BOARDS) {
  const target = new URL(`${board.name}.json`, import.meta.url);
  const json = boardJson(board, DEFAULT_SETTINGS);
  if (!process.argv.includes('--check')) {
    writeFileSync(target, json);
  } else if (readFileSync(target, 'utf8') !== json) {
    console.error(`dashboards/${board.name}.json is not current: run \`npm run generate\``);
    process.exitCode = 1;
  }
}
