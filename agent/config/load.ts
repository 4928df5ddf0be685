/**
 * Reads settings: built-in values, then the file, then flags. Whatever is wrong
 * is told with the file, the line and the key.
 */
import { readFileSync } from 'node:fs';
import {
  type Alias,
  type Document,
  isMap,
  isScalar,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import { UserProblem } from '../../src/problem.ts';
import { RULES } from '../../src/rules/catalogue.ts';
import { faults, type Schema, withDefaults } from './check.ts';
import { type Config, ConfigSchema } from './schema.ts';

const SCHEMA: Schema = ConfigSchema;

/** A setting given on the command line: its path in the file, and its value. */
export interface Override {
  readonly flag: string;
  readonly path: readonly string[];
  readonly value: unknown;
}

/** @throws {UserProblem} that names the place and what is expected there */
export function loadConfig(file: string | undefined, overrides: readonly Override[]): Config {
  const settings = file === undefined ? {} : readFile(file);
  for (const { flag, path, value } of overrides) {
    const only: Record<string, unknown> = {};
    put(only, path, value);
    check(only, () => `flag ${flag}`);
    put(settings, path, value);
  }
  return withDefaults(SCHEMA, settings) as Config;
}

function readFile(file: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserProblem(
      `cannot read the configuration ${file}: ${(error as NodeJS.ErrnoException).code}`,
      'check the path given to --config',
      { cause: error },
    );
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const [syntax] = document.errors;
  const reject = (offset: number, message: string) => {
    const { line } = lines.linePos(offset);
    const [first] = message.split('\n');
    throw new UserProblem(`${file}:${line}: ${first.replace(/:$/, '')}`, 'correct the YAML there');
  };
  if (syntax) reject(syntax.pos[0], syntax.message);
  const alias = danglingAlias(document);
  if (alias)
    reject(alias.range?.[0] ?? 0, `the alias ${alias.source} stands for nothing before it`);
  const settings: unknown = document.toJS() ?? {};
  const place = (path: readonly string[]) => {
    const offset = offsetOf(document.contents, path);
    return offset === undefined ? file : `${file}:${lines.linePos(offset).line}`;
  };
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings)) {
    throw new UserProblem(
      `${file}:1: expected settings as "key: value"`,
      'see vfioscope run --help',
    );
  }
  check(settings, place);
  return settings as Record<string, unknown>;
}

function danglingAlias(document: Document.Parsed): Alias | undefined {
  let dangling: Alias | undefined;
  visit(document, {
    Alias(_, alias) {
      if (alias.resolve(document)) return undefined;
      dangling = alias;
      return visit.BREAK;
    },
  });
  return dangling;
}

/** Where the key at `path` stands, or its nearest enclosing one. */
function offsetOf(root: Node | null, path: readonly string[]): number | undefined {
  let node: unknown = root;
  let offset: number | undefined;
  for (const key of path) {
    if (!isMap(node)) break;
    const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === key);
    if (!pair) break;
    if (isScalar(pair.key)) offset = pair.key.range?.[0] ?? offset;
    node = pair.value;
  }
  return offset;
}

function check(settings: unknown, place: (path: readonly string[]) => string): void {
  const filled = withDefaults(SCHEMA, settings);
  for (const { path, message } of faults(SCHEMA, filled)) {
    const key = path.join('.');
    if (!isKnown(path)) {
      const known = knownKeys(path.slice(0, -1));
      throw new UserProblem(
        `${place(path)}: unknown setting ${key}`,
        `known here: ${known.join(', ')}`,
      );
    }
    const { description = `settings: ${knownKeys(path).join(', ')}` } = schemaAt(path);
    throw new UserProblem(`${place(path)}: ${key} ${message}`, `it is: ${description}`);
  }
  const disabled = (filled as Config).rules.disabled;
  const unknown = disabled.find((id) => !RULES.some((rule) => rule.id === id));
  if (unknown !== undefined) {
    throw new UserProblem(
      `${place(['rules', 'disabled'])}: rules.disabled names ${unknown}, which is no rule`,
      `rules are: ${RULES.map((rule) => rule.id).join(', ')}`,
    );
  }
}

function schemaAt(path: readonly string[]): Schema {
  let node = SCHEMA;
  for (const key of path) node = node.properties?.[key] ?? node;
  return node;
}

function isKnown(path: readonly string[]): boolean {
  const key = path.at(-1);
  const { properties } = schemaAt(path.slice(0, -1));
  // Without properties it is a list, and the key an index.
  return key === undefined || properties === undefined || Object.hasOwn(properties, key);
}

function knownKeys(path: readonly string[]): string[] {
  return Object.keys(schemaAt(path).properties ?? {});
}

/** Every setting as `key.path`, default and meaning, for the help text. */
export function describeSettings(): string[] {
  const lines: string[] = [];
  const walk = (node: Schema, path: string) => {
    for (const [key, child] of Object.entries(node.properties ?? {})) {
      if (child.properties) walk(child, `${path}${key}.`);
      else {
        lines.push(
          `  ${`${path}${key}`.padEnd(28)} ${child.description} (${JSON.stringify(child.default)})`,
        );
      }
    }
  };
  walk(SCHEMA, '');
  return lines;
}

function put(settings: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let at = settings;
  for (const key of path.slice(0, -1)) {
    at[key] = { ...(at[key] as Record<string, unknown> | undefined) };
    at = at[key] as Record<string, unknown>;
  }
  at[path[path.length - 1]] = value;
}
