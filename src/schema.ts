/**
 * Schemas of values that come from files, and the check against them: settings, and the JSON parts of
 * recordings. A schema is written in the part of JSON Schema that these need. A library for all of JSON
 * Schema is not used, because loading it takes longer than everything else that happens before the probes
 * are attached.
 */

export interface Schema {
  readonly type?: 'object' | 'array' | 'string' | 'boolean' | 'number' | 'integer';
  /** The keys of an object; each has to be there unless it has a default or is optional. */
  readonly properties?: Readonly<Record<string, Schema>>;
  /** Of an object without `properties`, the values of all keys; of one with them, whether more keys may be there. */
  readonly additionalProperties?: Schema | true;
  readonly items?: Schema;
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly default?: unknown;
  /** Whether the key may be left out. JSON Schema has a list of the others in the object instead. */
  readonly optional?: true;
  readonly description?: string;
}

/** The type that a schema describes, once defaults are filled in. */
export type Value<S> =
  S extends Typed<infer T>
    ? T
    : S extends { readonly properties: infer Properties }
      ? Flat<
          {
            readonly [Key in keyof Properties as Properties[Key] extends { readonly optional: true }
              ? never
              : Key]: Value<Properties[Key]>;
          } & {
            readonly [Key in keyof Properties as Properties[Key] extends { readonly optional: true }
              ? Key
              : never]?: Value<Properties[Key]>;
          }
        >
      : S extends { readonly items: infer Item }
        ? readonly Value<Item>[]
        : S extends { readonly enum: readonly (infer Word)[] }
          ? Word
          : S extends { readonly additionalProperties: infer Item }
            ? Readonly<Record<string, Value<Item>>>
            : S extends { readonly type: infer Name extends keyof Primitives }
              ? Primitives[Name]
              : never;

declare const TYPED: unique symbol;

/** A schema of strings whose values are known to the type checker only. */
interface Typed<T extends string> extends Schema {
  readonly type: 'string';
  readonly [TYPED]: T;
}

/** A string that the caller checks further. */
export function stringOf<T extends string>(): Typed<T> {
  return { type: 'string' } as Typed<T>;
}

type Flat<T> = { [Key in keyof T]: T[Key] };

interface Primitives {
  /** One whose keys are not known here. */
  readonly object: Readonly<Record<string, unknown>>;
  readonly string: string;
  readonly boolean: boolean;
  readonly number: number;
  readonly integer: number;
}

/** What is wrong with a part of a value. */
export interface Fault {
  /** Keys and indexes that lead to the part. */
  readonly path: readonly string[];
  /** The rest of a sentence that begins with the path. */
  readonly message: string;
  readonly kind: 'unknown' | 'missing' | 'invalid';
}

const TYPES: Readonly<Record<NonNullable<Schema['type']>, (value: unknown) => boolean>> = {
  object: isRecord,
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  boolean: (value) => typeof value === 'boolean',
  number: Number.isFinite,
  integer: Number.isInteger,
};

/** No setting and no name has any, and no system call takes a NUL. */
const CONTROL = /\p{Cc}/u;

/** Characters of a wrong value that a message quotes. */
const LONGEST_SHOWN = 100;

const NAMES: Readonly<Record<NonNullable<Schema['type']>, string>> = {
  object: 'a mapping (key: value)',
  array: 'a list',
  string: 'a string',
  boolean: 'true or false',
  number: 'a number',
  integer: 'a whole number',
};

/** A copy in which everything that was left out has its default. */
export function withDefaults(schema: Schema, given: unknown): unknown {
  const value = structuredClone(given === undefined ? schema.default : given);
  if (schema.properties && isRecord(value)) {
    for (const [key, child] of Object.entries(schema.properties)) {
      value[key] = withDefaults(child, value[key]);
    }
  }
  return value;
}

/** Everything that is wrong with a value, outer parts first. */
export function faults(schema: Schema, value: unknown, path: readonly string[] = []): Fault[] {
  const message = faultOf(schema, value);
  if (message) return [{ path, message, kind: 'invalid' }];
  const { items, properties, additionalProperties } = schema;
  if (items && Array.isArray(value)) {
    return value.flatMap((item, i) => faults(items, item, [...path, String(i)]));
  }
  if (!isRecord(value)) return [];
  return [
    ...missing(properties ?? {}, value, path),
    ...Object.entries(value).flatMap(([key, child]) => {
      if (child === undefined) return [];
      const at = [...path, key];
      if (properties && Object.hasOwn(properties, key)) return faults(properties[key], child, at);
      if (isRecord(additionalProperties)) return faults(additionalProperties, child, at);
      if (!properties || additionalProperties) return [];
      return [{ path: at, message: 'is not known', kind: 'unknown' as const }];
    }),
  ];
}

function missing(
  properties: Readonly<Record<string, Schema>>,
  value: Readonly<Record<string, unknown>>,
  path: readonly string[],
): Fault[] {
  return Object.entries(properties)
    .filter(([key, { optional }]) => !optional && ownValue(value, key) === undefined)
    .map(([key]) => ({ path: [...path, key], message: 'is missing', kind: 'missing' }));
}

/** What a name that every object inherits stands for is not in the value. */
function ownValue(value: Readonly<Record<string, unknown>>, key: string): unknown {
  return Object.hasOwn(value, key) ? value[key] : undefined;
}

/** What is wrong with the value itself. */
function faultOf(schema: Schema, value: unknown): string | undefined {
  const { type, enum: words, pattern, minimum, maximum } = schema;
  if (words) {
    return words.some((word) => word === value) ? undefined : `must be one of ${words.join(', ')}`;
  }
  if (type && !TYPES[type](value)) return `must be ${NAMES[type]}`;
  if (minimum !== undefined && Number(value) < minimum) return `must be at least ${minimum}`;
  if (maximum !== undefined && Number(value) > maximum) return `must be at most ${maximum}`;
  if (pattern && !new RegExp(pattern, 'u').test(String(value))) {
    return `is not valid: ${shown(value)}`;
  }
  if (typeof value === 'string' && CONTROL.test(value)) {
    return `must not have control characters: ${shown(value)}`;
  }
  return undefined;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
