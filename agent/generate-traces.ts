/**
 * Writes the tables of docs/traces.md that are facts of the code, between the lines that mark them;
 * with --check, only tells whether they are current (exit code 1 when not).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { PHASES } from '../src/telemetry/phases.ts';
import { ATTRIBUTES } from '../src/telemetry/trace-attributes.ts';
import { OTEL_VARIABLES } from './config/otel.ts';

const TABLES: Readonly<Record<string, string>> = {
  phases: table(
    ['span', 'what it tells', 'lies in'],
    Object.entries(PHASES).map(([name, { meaning, within }]) => [
      code(name),
      meaning,
      within ? code(within) : 'the life',
    ]),
  ),
  attributes: table(
    ['attribute', 'on', 'meaning'],
    Object.entries(ATTRIBUTES).map(([name, { on, meaning }]) => [code(name), on, meaning]),
  ),
  variables: table(
    ['variable', 'if it is not set', 'meaning'],
    Object.entries(OTEL_VARIABLES)
      .filter(([name]) => !/^OTEL_EXPORTER_OTLP_(TRACES|LOGS)_/.test(name))
      .map(([name, { fallback, meaning }]) => [code(name), fallback, meaning]),
  ),
};

const file = new URL('../docs/traces.md', import.meta.url);
const before = readFileSync(file, 'utf8');
const after = Object.entries(TABLES).reduce(withTable, before);
if (!process.argv.includes('--check')) {
  writeFileSync(file, after);
} else if (after !== before) {
  console.error('docs/traces.md is not what the code says: run `npm run generate`');
  process.exitCode = 1;
}

function withTable(text: string, [name, rows]: readonly [string, string]): string {
  const [begin, end] = [`<!-- ${name}: generated -->\n`, `<!-- end of ${name} -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`docs/traces.md has no place for ${name}`);
  return `${text.slice(0, from + begin.length)}\n${rows}\n${text.slice(to)}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |\n`).join('');
}

function code(text: string): string {
  return `\`${text}\``;
}
