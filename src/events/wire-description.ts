/** Everything the decoder knows about the wire format, as one comparable value. */
import type { Btf, Field } from '../kernel/btf.ts';

export interface WireDescription {
  readonly version: number;
  /** Bytes of `struct event`. */
  readonly eventSize: number;
  /** Bytes of `struct named_event`. */
  readonly namedSize: number;
  /** Bytes of `struct lane`. */
  readonly laneSize: number;
  readonly event: readonly Field[];
  readonly names: readonly Field[];
  readonly lane: readonly Field[];
  readonly points: Readonly<Record<string, number>>;
  readonly flags: Readonly<Record<string, number>>;
}

/**
 * Reads the wire format out of a compiled probe object's BTF.
 * @throws when the BTF does not describe one, as in an object of another program
 */
export function describeWire(btf: Btf): WireDescription {
  const event = btf.struct('event');
  const named = btf.struct('named_event');
  const lane = btf.struct('lane');
  const points = btf.enum('point');
  const flags = btf.enum('event_flags');
  const wire = btf.enum('wire');
  if (!event || !named || !lane || !points || !flags || !wire) {
    throw new Error('its BTF does not describe the vfioscope wire format');
  }
  return {
    version: wire.get('WIRE_VERSION') ?? 0,
    eventSize: event.size,
    namedSize: named.size,
    laneSize: lane.size,
    event: event.fields,
    names: named.fields.filter((field) => field.offset >= event.size),
    lane: lane.fields,
    points: Object.fromEntries(points),
    flags: Object.fromEntries(flags),
  };
}

/** The first difference between two descriptions in words, or undefined when they agree. */
export function wireDifference(ours: WireDescription, theirs: WireDescription): string | undefined {
  if (ours.version !== theirs.version) {
    return `wire format version ${theirs.version}, this agent reads version ${ours.version}`;
  }
  for (const part of ['event', 'names', 'lane'] as const) {
    const difference = fieldDifference(part, ours[part], theirs[part]);
    if (difference) return difference;
  }
  for (const part of ['eventSize', 'namedSize', 'laneSize'] as const) {
    if (ours[part] !== theirs[part])
      return `${part} is ${theirs[part]} bytes, expected ${ours[part]}`;
  }
  for (const part of ['points', 'flags'] as const) {
    const names = new Set([...Object.keys(ours[part]), ...Object.keys(theirs[part])]);
    for (const name of names) {
      if (ours[part][name] !== theirs[part][name]) {
        return `${name} is ${theirs[part][name] ?? 'missing'}, expected ${ours[part][name] ?? 'none'}`;
      }
    }
  }
  return undefined;
}

/**
 * Why records of that format cannot be read by a reader of ours, or undefined. Older
 * writers may have known fewer points and flags, whose numbers are never used again, and
 * have left reserved, and 0, what got a name since.
 */
export function obstacleToReading(
  ours: WireDescription,
  theirs: WireDescription,
): string | undefined {
  const named = (part: 'event' | 'names' | 'lane') =>
    theirs[part].flatMap((field) => (field.name === RESERVED ? within(field, ours[part]) : field));
  return wireDifference(ours, {
    ...theirs,
    ...{ event: named('event'), names: named('names'), lane: named('lane') },
    points: { ...ours.points, ...theirs.points },
    flags: { ...ours.flags, ...theirs.flags },
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
