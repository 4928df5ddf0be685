/**
 * Reads settings: defaults, then the file, then flags. What is wrong is reported with the file, the line
 * and the key.
 */
import { UserProblem } from '../../src/problem.ts';
import { type Fault, faults, type Schema, withDefaults } from '../../src/schema.ts';
import { RENAMED_SETTINGS } from './renamed.ts';
import { CONFIG_SCHEMA, type Config } from './schema.ts';

const SCHEMA: Schema = CONFIG_SCHEMA;

/** Returns where the setting at a path was given. */
type Place = (path: readonly string[]) => string;

/** A setting given by a flag: its path in the file, and its value. */
export interface Override {
  readonly flag: string;
  readonly path: readonly string[];
  readonly value: unknown;
}

/** @throws {UserProblem} with the place of the setting and what is expected there */
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
  // Loaded only when there is a file: the YAML parser takes longer to load than everything else here.
  const { readSettings } = await import('./file.ts');
  const { settings, place } = readSettings(file);
  await check(settings, place);
  return settings;
}

/** @param place returns where the setting at a path was given */
async function check(settings: unknown, place: Place): Promise<void> {
  const filled = withDefaults(SCHEMA, settings);
  const [fault] = faults(SCHEMA, filled);
  if (fault) throw problemOf(fault, place);
  const { rules, otel } = filled as Config;
  if (Object.keys(otel).length > 0) await checkOtel(otel, place);
  const { disabled } = rules;
  if (disabled.length === 0) return;
  const { RULES } = await import('../../src/catalogue.ts');
  const unknown = disabled.find((id) => !RULES.some((rule) => rule.id === id));
  if (unknown !== undefined) {
    throw new UserProblem(
      'config.unknown-rule',
      `${place(['rules', 'disabled'])}: rules.disabled names ${unknown}, which is not a rule`,
      `use ids of rules: ${RULES.map((rule) => rule.id).join(', ')}`,
    );
  }
}

function problemOf({ path, message, kind }: Fault, place: Place): UserProblem {
  const key = path.join('.');
  if (kind !== 'unknown') {
    const { description = `settings: ${knownKeys(path).join(', ')}` } = schemaAt(path);
    const text = `${place(path)}: ${key} ${message}`;
    return new UserProblem('config.invalid-value', text, `correct ${key} (${description})`);
  }
  if (Object.hasOwn(RENAMED_SETTINGS, key)) {
    const name = RENAMED_SETTINGS[key];
    const text = `${place(path)}: the setting ${key} was renamed to ${name}`;
    return new UserProblem('config.renamed', text, `write ${name} instead of ${key}`);
  }
  return new UserProblem(
    'config.unknown-key',
    `${place(path)}: unknown setting ${key}`,
    `use one of ${knownKeys(path.slice(0, -1)).join(', ')}`,
  );
}

async function checkOtel(otel: Config['otel'], place: Place): Promise<void> {
  const { OTEL_VARIABLES, otelFaults } = await import('./otel.ts');
  for (const { name, message } of otelFaults(otel)) {
    const known = Object.hasOwn(OTEL_VARIABLES, name) ? OTEL_VARIABLES[name] : undefined;
    throw new UserProblem(
      known ? 'config.invalid-value' : 'config.unknown-key',
      `${place(['otel', name])}: otel.${name} ${message}`,
      known
        ? `correct it (${known.description})`
        : `use one of ${Object.keys(OTEL_VARIABLES).join(', ')}`,
    );
  }
}

function schemaAt(path: readonly string[]): Schema {
  let node = SCHEMA;
  for (const key of path) node = node.properties?.[key] ?? node;
  return node;
}

function knownKeys(path: readonly string[]): string[] {
  return Object.keys(schemaAt(path).properties ?? {});
}

/** Every setting as `key.path`, description and default, for the help text. */
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
