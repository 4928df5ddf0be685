/**
 * Writes docs/automata.md from the tables in automata.ts; with --check, only checks whether
 * the committed file is current (exit code 1 if it is not).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { automataDocument } from './automata-document.ts';

const target = new URL('../../docs/automata.md', import.meta.url);
if (!process.argv.includes('--check')) {
  writeFileSync(target, automataDocument());
} else if (readFileSync(target, 'utf8') !== automataDocument()) {
  console.error(
    'docs/automata.md does not match src/lifecycle/automata.ts: run `npm run generate`',
  );
  process.exitCode = 1;
}
