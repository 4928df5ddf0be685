/**
 * Settings are described by as much of JSON Schema as they need, and checked here: to load
 * a library for that would take longer than anything else that is done before the probes.
 */

export interface Schema {
  readonly type?: 'object' | 'array' | 'string' | 'boolean' | 'number' | 'integer';
  /** All that there may be; each has a default or is checked like one that was given. */
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly default?: unknown;
  readonly description?: string;
}

/** What a schema describes, once defaults are filled in. */
export type Value<S> = S extends { readonly properties: infer Properties }
  ? { readonly [Key in keyof Properties]: Value<Properties[Key]> }
  : S extends { readonly items: infer Item }
    ? readonly Value<Item>[]
    : S extends { readonly enum: readonly (infer Word)[] }
      ? Word
      : S extends { readonly type: infer Name extends keyof Primitives }
        ? Primitives[Name]
        : never;

interface Primitives {
  /** One without `properties`: its keys are not ours to name. */
  readonly object: Readonly<Record<string, unknown>>;
  readonly string: string;
  readonly boolean: boolean;
  readonly number: number;
  readonly integer: number;
}

/** What is wrong with a setting. */
export interface Fault {
  readonly path: readonly string[];
  readonly message: string;
}

const TYPES: Readonly<Record<NonNullable<Schema['type']>, (value: unknown) => boolean>> = {
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
  const { type, enum: words, pattern, minimum } = schema;
  if (words) return words.some((word) => word === value) ? undefined : 'is not one of its values';
  if (type && !TYPES[type](value)) return `must be ${type}`;
  if (minimum !== undefined && Number(value) < minimum) return `must be >= ${minimum}`;
  if (pattern && !new RegExp(pattern, 'u').test(String(value))) return `must match ${pattern}`;
  return undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
