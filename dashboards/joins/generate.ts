/** Writes docs/joins.md from the joins; with --check, only checks whether the committed file is current. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { joinsPage } from './page.ts';

const target = new URL('../../docs/joins.md', import.meta.url);
if (!process.argv.includes('--check')) {
  writeFileSync(target, joinsPage());
} else if (!existsSync(target) || readFileSync(target, 'utf8') !== joinsPage()) {
  console.error('docs/joins.md does not match dashboards/joins: run `npm run generate`');
  process.exitCode = 1;
}
