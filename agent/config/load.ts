/**
 * Reads settings: built-in values, then the file, then flags. Whatever is wrong
 * is told with the file, the line and the key.
 */
import { UserProblem } from '../../src/problem.ts';
import { faults, type Schema, withDefaults } from './check.ts';
import { CONFIG_SCHEMA, type Config } from './schema.ts';

const SCHEMA: Schema = CONFIG_SCHEMA;

/** A setting given on the command line: its path in the file, and its value. */
export interface Override {
  readonly flag: string;
  readonly path: readonly string[];
  readonly value: unknown;
}

/** @throws {UserProblem} that names the place and what is expected there */
export async function loadConfig(
  file: string | undefined,
  overrides: readonly Override[],
): Promise<Config> {
  const settings = file === undefined ? {} : await fromFile(file);
  for (const { flag, path, value } of overrides) {
    const only: Record<string, unknown> = {};
    put(only, path, value);
    await check(only, () => `flag ${flag}`);
    put(settings, path, value);
  }
  return withDefaults(SCHEMA, settings) as Config;
}

async function fromFile(file: string): Promise<Record<string, unknown>> {
  // Only now: to load what reads YAML takes longer than all else here.
  const { readSettings } = await import('./file.ts');
  const { settings, place } = readSettings(file);
  await check(settings, place);
  return settings;
}

/** @param place says where the setting at a path was given */
async function check(settings: unknown, place: (path: readonly string[]) => string): Promise<void> {
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
  const { rules, otel } = filled as Config;
  if (Object.keys(otel).length > 0) await checkOtel(otel, place);
  const { disabled } = rules;
  if (disabled.length === 0) return;
  const { RULES } = await import('../../src/rules/catalogue.ts');
  const unknown = disabled.find((id) => !RULES.some((rule) => rule.id === id));
  if (unknown !== undefined) {
    throw new UserProblem(
      `${place(['rules', 'disabled'])}: rules.disabled names ${unknown}, which is no rule`,
      `rules are: ${RULES.map((rule) => rule.id).join(', ')}`,
    );
  }
}

async function checkOtel(
  otel: Config['otel'],
  place: (path: readonly string[]) => string,
): Promise<void> {
  const { OTEL_VARIABLES, otelFaults } = await import('./otel.ts');
  for (const { name, message } of otelFaults(otel)) {
    const known = Object.hasOwn(OTEL_VARIABLES, name) ? OTEL_VARIABLES[name] : undefined;
    throw new UserProblem(
      `${place(['otel', name])}: otel.${name} ${message}`,
      known ? `it is: ${known.meaning}` : `known here: ${Object.keys(OTEL_VARIABLES).join(', ')}`,
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
          `  ${`${path}${key}`.padEnd(37)} ${child.description} (${JSON.stringify(child.default)})`,
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
