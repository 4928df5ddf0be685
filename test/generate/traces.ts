/**
 * Writes the tables of docs/traces.md and docs/logs.md that are derived from the code, between the lines that mark them;
 * with --check, only checks whether they are current (exit code 1 if not).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { SeverityNumber } from '@opentelemetry/api';
import { OTEL_VARIABLES } from '../../agent/config/otel.ts';
import { RESOURCE_ATTRIBUTES } from '../../agent/runtime/resource.ts';
import { SEVERITIES } from '../../src/engine/rule.ts';
import { LOG_EVENTS } from '../../src/telemetry/log-events.ts';
import { NAMES } from '../../src/telemetry/names.ts';
import { PHASES } from '../../src/telemetry/phases.ts';
import { LEVELS, levelOf } from '../../src/telemetry/severity.ts';
import { ATTRIBUTES } from '../../src/telemetry/trace-attributes.ts';

type Tables = Readonly<Record<string, string>>;

/** As journalctl(1) names them. */
const PRIORITIES: Readonly<Record<number, string>> = {
  2: 'crit',
  3: 'err',
  4: 'warning',
  6: 'info',
};

const TRACES: Tables = {
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
      .filter(([name]) => !/^OTEL_EXPORTER_OTLP_(TRACES|LOGS|METRICS)_/.test(name))
      .map(([name, { fallback, description }]) => [code(name), fallback, description]),
  ),
};

const LOGS: Tables = {
  events: table(
    ['event', 'a line is written when'],
    LOG_EVENTS.map(({ events, when }) => [events.map(code).join(', '), when]),
  ),
  names: table(
    ['', 'log', 'API', 'spans and records', 'metrics'],
    NAMES.map(({ what, log, api, attribute, label }) => [
      ...[what, code(log), code(api), code(attribute), label ? code(label) : ''],
    ]),
  ),
  levels: table(
    ['severity of a violation', 'level', 'priority in the journal', 'OpenTelemetry'],
    SEVERITIES.map((severity) => {
      const level = levelOf(severity);
      const { number, priority, severityNumber } = LEVELS[level];
      return [
        code(severity) + (severity === 'info' ? ', and the end of any violation' : ''),
        `${number} ${level}`,
        `${priority} ${PRIORITIES[priority]}`,
        `${severityNumber} ${code(SeverityNumber[severityNumber])}`,
      ];
    }),
  ),
};

update('traces', TRACES);
update('logs', LOGS);

function update(name: string, tables: Tables): void {
  const file = new URL(`../../docs/${name}.md`, import.meta.url);
  const before = readFileSync(file, 'utf8');
  const after = Object.entries(tables).reduce(withTable, before);
  if (!process.argv.includes('--check')) {
    writeFileSync(file, after);
  } else if (after !== before) {
    console.error(`docs/${name}.md does not match the code: run \`npm run generate\``);
    process.exitCode = 1;
  }
}

function withTable(text: string, [name, rows]: readonly [string, string]): string {
  const [begin, end] = [`<!-- ${name}: generated -->\n`, `<!-- end of ${name} -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`the document has no mark for the table ${name}`);
  return `${text.slice(0, from + begin.length)}\n${rows}\n${text.slice(to)}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |\n`).join('');
}

function code(text: string): string {
  return `\`${text}\``;
}
