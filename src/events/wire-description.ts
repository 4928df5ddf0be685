/** Everything the decoder knows about the wire format, as one comparable value. */

/** A leaf of a struct: nested structs are flattened into their members. */
export interface Field {
  readonly name: string;
  /** Bytes from the start of the outermost struct. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  /** A number that may be negative. */
  readonly signed: boolean;
}

export interface WireDescription {
  readonly version: number;
  /** Bytes of `struct event`. */
  readonly eventSize: number;
  /** Bytes of `struct named_event`. */
  readonly namedSize: number;
  /** Bytes of `struct cpu_counters`. */
  readonly cpuCountersSize: number;
  /** Numbers of points are below it. */
  readonly pointLimit: number;
  readonly event: readonly Field[];
  readonly names: readonly Field[];
  readonly cpuCounters: readonly Field[];
  readonly points: Readonly<Record<string, number>>;
  readonly flags: Readonly<Record<string, number>>;
  /** Bits of `covered`. */
  readonly coverage: Readonly<Record<string, number>>;
  /** Bits of `device_state`. */
  readonly deviceStates: Readonly<Record<string, number>>;
}

const ENUMS = ['points', 'flags', 'coverage', 'deviceStates'] as const;

/** The first difference between two descriptions in words, or undefined when they agree. */
export function wireDifference(ours: WireDescription, theirs: WireDescription): string | undefined {
  if (ours.version !== theirs.version) {
    return `wire format version ${theirs.version}, this agent reads version ${ours.version}`;
  }
  for (const part of ['event', 'names', 'cpuCounters'] as const) {
    const difference = fieldDifference(part, ours[part], theirs[part]);
    if (difference) return difference;
  }
  for (const part of ['eventSize', 'namedSize', 'cpuCountersSize', 'pointLimit'] as const) {
    if (ours[part] !== theirs[part]) return `${part} is ${theirs[part]}, expected ${ours[part]}`;
  }
  for (const part of ENUMS) {
    const names = new Set([...Object.keys(ours[part]), ...Object.keys(theirs[part])]);
    for (const name of names) {
      if (ours[part][name] !== theirs[part][name]) {
        return `${name} is ${theirs[part][name] ?? 'missing'}, expected ${ours[part][name] ?? 'none'}`;
      }
    }
  }
  return undefined;
}

/** What is wrong with the numbers of the points, in words: each must fit into a record, and be used once. */
export function pointProblems({ points, pointLimit }: WireDescription): string[] {
  const names = new Map<number, string>();
  return Object.entries(points).flatMap(([name, number]) => {
    if (number >= pointLimit) {
      return `point ${name} is ${number}, but must be below POINT_LIMIT (${pointLimit})`;
    }
    const other = names.get(number);
    names.set(number, name);
    return other ? `points ${other} and ${name} are both ${number}` : [];
  });
}

type Counters = Pick<WireDescription, 'cpuCounters' | 'cpuCountersSize'>;

/** What a writer says of its records, and of its per-CPU counters where these can be read, too. */
export type RecordDescription = Omit<WireDescription, keyof Counters> & Partial<Counters>;

/**
 * Why our reader cannot read records of that format, or undefined. Older writers may
 * have known fewer points and flags, whose numbers are never used again, and have left
 * reserved, and 0, what got a name since.
 */
export function failureToRead(
  ours: WireDescription,
  theirs: RecordDescription,
): string | undefined {
  const named = (part: 'event' | 'names' | 'cpuCounters') =>
    (theirs[part] ?? ours[part]).flatMap((field) =>
      field.name === RESERVED ? within(field, ours[part]) : field,
    );
  const enums = Object.fromEntries(
    ENUMS.map((part) => [part, { ...ours[part], ...theirs[part] }]),
  ) as Pick<WireDescription, (typeof ENUMS)[number]>;
  return wireDifference(ours, {
    ...theirs,
    ...enums,
    ...{ event: named('event'), names: named('names'), cpuCounters: named('cpuCounters') },
    cpuCountersSize: theirs.cpuCountersSize ?? ours.cpuCountersSize,
  });
}

const RESERVED = 'reserved';

/** Our fields that lie in that reserved one. */
function within({ offset, size }: Field, ours: readonly Field[]): Field[] {
  return ours.filter((one) => one.offset >= offset && one.offset + one.size <= offset + size);
}

function fieldDifference(
  part: string,
  ours: readonly Field[],
  theirs: readonly Field[],
): string | undefined {
  for (let i = 0; i < Math.max(ours.length, theirs.length); i++) {
    const [a, b] = [ours[i], theirs[i]];
    if (fieldText(a) !== fieldText(b)) {
      return `${part} field ${i} is ${fieldText(b)}, expected ${fieldText(a)}`;
    }
  }
  return undefined;
}

function fieldText(field: Field | undefined): string {
  if (!field) return 'missing';
  const { name, size, offset, signed } = field;
  return `${name} (${size} bytes at ${offset}${signed ? ', signed' : ''})`;
}
