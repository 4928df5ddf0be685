/**
 * Writes the tables of docs/traces.md that are derived from the code, between the lines that mark them;
 * with --check, only checks whether they are current (exit code 1 if not).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { OTEL_VARIABLES } from '../../agent/config/otel.ts';
import { RESOURCE_ATTRIBUTES } from '../../agent/runtime/resource.ts';
import { PHASES } from '../../src/telemetry/phases.ts';
import { ATTRIBUTES } from '../../src/telemetry/trace-attributes.ts';

const TABLES: Readonly<Record<string, string>> = {
  phases: table(
    ['span', 'from begin to end', 'parent'],
    Object.entries(PHASES).map(([name, { description, within }]) => [
      code(name),
      description,
      within ? code(within) : 'the root span',
    ]),
  ),
  attributes: table(
    ['attribute', 'on', 'meaning'],
    Object.entries(ATTRIBUTES).map(([name, { on, description }]) => [code(name), on, description]),
  ),
  resource: table(
    ['attribute', 'meaning'],
    Object.entries(RESOURCE_ATTRIBUTES).map(([name, meaning]) => [code(name), meaning]),
  ),
  variables: table(
    ['variable', 'if it is not set', 'meaning'],
    Object.entries(OTEL_VARIABLES)
      .filter(([name]) => !/^OTEL_EXPORTER_OTLP_(TRACES|LOGS)_/.test(name))
      .map(([name, { fallback, description }]) => [code(name), fallback, description]),
  ),
};

const file = new URL('../../docs/traces.md', import.meta.url);
const before = readFileSync(file, 'utf8');
const after = Object.entries(TABLES).reduce(withTable, before);
if (!process.argv.includes('--check')) {
  writeFileSync(file, after);
} else if (after !== before) {
  console.error('docs/traces.md does not match the code: run `npm run generate`');
  process.exitCode = 1;
}

function withTable(text: string, [name, rows]: readonly [string, string]): string {
  const [begin, end] = [`<!-- ${name}: generated -->\n`, `<!-- end of ${name} -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`docs/traces.md has no mark for the table ${name}`);
  return `${text.slice(0, from + begin.length)}\n${rows}\n${text.slice(to)}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |\n`).join('');
}

function code(text: string): string {
  return `\`${text}\``;
}
