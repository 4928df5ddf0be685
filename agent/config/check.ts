/**
 * Compares settings with their schema, as far as it goes in schema.ts. TypeBox could do that
 * as well, but to load what it has for it is a tenth of the time until the probes are attached.
 */

/** Of JSON Schema, what the settings use. */
export interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  /** Words, each by its `const`. */
  readonly anyOf?: readonly Schema[];
  readonly const?: unknown;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly default?: unknown;
  readonly description?: string;
}

/** What is wrong with a setting. */
export interface Fault {
  readonly path: readonly string[];
  readonly message: string;
}

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  object: isRecord,
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  boolean: (value) => typeof value === 'boolean',
  number: Number.isFinite,
  integer: Number.isInteger,
};

/** A copy, with everything that was left out. */
export function withDefaults(schema: Schema, given: unknown): unknown {
  const value = structuredClone(given === undefined ? schema.default : given);
  if (schema.properties && isRecord(value)) {
    for (const [key, child] of Object.entries(schema.properties)) {
      value[key] = withDefaults(child, value[key]);
    }
  }
  return value;
}

/** All that is wrong, outer things first. */
export function faults(schema: Schema, value: unknown, path: readonly string[] = []): Fault[] {
  const message = faultOf(schema, value);
  if (message) return [{ path, message }];
  if (schema.items && Array.isArray(value)) {
    const { items } = schema;
    return value.flatMap((item, i) => faults(items, item, [...path, String(i)]));
  }
  if (!schema.properties || !isRecord(value)) return [];
  const { properties } = schema;
  return Object.entries(value).flatMap(([key, child]) =>
    Object.hasOwn(properties, key)
      ? faults(properties[key], child, [...path, key])
      : [{ path: [...path, key], message: 'is not known' }],
  );
}

/** What is wrong with the value itself. */
function faultOf(schema: Schema, value: unknown): string | undefined {
  const { type, anyOf, pattern, minimum } = schema;
  if (anyOf) {
    return anyOf.some((word) => word.const === value) ? undefined : 'is not one of its values';
  }
  if (type && !TYPES[type](value)) return `must be ${type}`;
  if (minimum !== undefined && Number(value) < minimum) return `must be >= ${minimum}`;
  if (pattern && !new RegExp(pattern, 'u').test(String(value))) return `must match ${pattern}`;
  return undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
