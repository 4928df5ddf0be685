/** docs/wire-format.md: the wire format for people, out of the header and its BTF. */
import type { Field } from '../kernel/btf.ts';
import { PROBE_TABLE } from '../kernel/probe-table.ts';
import { POINT_NAMES, POINTS } from '../lifecycle/points.ts';
import { code, table } from '../markdown.ts';
import type { WireDescription } from './wire-description.ts';
import { type Member, membersOf } from './wire-header.ts';

/**
 * @param header the text of bpf/event.h
 * @throws {Error} when it does not say what a member means
 */
export function wireDocument(wire: WireDescription, header: string): string {
  const blocks = membersOf(header);
  const members = (name: string) => {
    const found = blocks.get(name);
    if (!found) throw new Error(`bpf/event.h: there is no ${name}`);
    return found;
  };
  const fields = (name: string, laid: readonly Field[], base = 0) =>
    fieldTable(name, members(name), laid, base);
  const constants = (name: string) =>
    table(
      ['name', 'value', 'meaning'],
      members(name).map((one) => [code(one.name), `${numberOf(header, one)}`, meaning(name, one)]),
    );
  return `<!-- Generated from bpf/event.h by src/events/generate-wire.ts. Do not edit. -->
# Wire format, version ${wire.version}

What the probes write into the ring buffer, what a recording keeps, and what a look at the host is
told as. [\`bpf/event.h\`](../bpf/event.h) is its only definition; the compiler writes it into the
object as BTF, and from both this page is made.

Numbers are little-endian. Sizes and offsets are in bytes. A text ends at its first NUL, or fills its
field. A key names a kernel object as long as that lives: equal keys are equal objects, 0 is none, and
nothing else can be told from a key. Each start of the agent uses other keys, unless it takes over the
probes of another.

## A record

A record is a \`struct event\` of ${wire.eventSize} bytes. With \`EVENT_NAMED\` among its flags a
\`struct event_names\` follows, and both have ${wire.namedSize} bytes.

### struct event

${fields('event', wire.event)}

### struct event_names

Offsets are from the start of the names; from the start of the record they are ${wire.eventSize} larger.

${fields('event_names', wire.names, wire.eventSize)}

### Flags

${constants('event_flags')}

## Points

\`point\` says what was called or found. A call that blocks is told twice: when it is entered, and with
\`EVENT_END\` when it returns. A begin may lack its end, where the return tells nothing. Which kernel
function stands for a point is the table in \`src/kernel/probe-table.ts\`, and \`vfioscope doctor\` tells
it of a running kernel. Numbers are never used again.

${pointTable(members('point'))}

## What was found

Records with \`EVENT_SEEN\` are no events: the agent looked at the host, and tells what was there. All
of one look stand between a begin and an end of \`SEEN_SNAPSHOT\`. They carry the time at which they
were read and have no place in a sequence: their \`seq\` and \`cpu\` mean nothing. Found in sysfs, an
object has a name and no key; found as a file, it has both. \`pid\`, \`tid\` and \`comm\` are those of
the process that holds the file, else of the agent.

\`ret\` at the end of \`SEEN_SNAPSHOT\` (\`enum seen\`): only what is missing in a part that could be
looked at is known to be gone.

${constants('seen')}

\`ret\` of \`SEEN_DEVICE\` (\`enum device_state\`):

${constants('device_state')}

## In the ring

The ring buffer is the kernel's (\`BPF_MAP_TYPE_RINGBUF\`): a page with the position up to which was
read, a page with the position up to which was written, then the data, which are mapped twice in a row
so that no record is torn. Each record has a header of 8 bytes in front and is padded to 8 bytes.

${table(
  ['bytes', 'meaning'],
  [
    ['0 – 3', 'length of the record. Bit 31: it is still being written. Bit 30: skip it'],
    ['4 – 7', 'for the kernel'],
  ],
)}

In a recording the same records stand without that header: see [recordings.md](recordings.md).

## What was lost

Each CPU has a lane in the map \`lanes\`, which the agent maps:

${fields('lane', wire.lane)}

\`seq\` is the lane's \`attempts\` when the record was written, modulo 2^32. So a gap between two records
of one \`cpu\` is the number of records that found no room, and what is missing after the last one is
the difference to \`attempts\`. What a CPU lost by \`calls_full\` and \`unreadable\`, and what the kernel
did not run, leaves no gap; the agent reads those counters once a second.

## Which versions fit

Probes and agent come from one build: an object whose BTF differs from this description in anything is
refused.

A recording has the description of its own format in its header. An agent reads it if

- the version is the same,
- each of its fields is the same here: name, offset, size, signedness; but what was reserved there may
  have a name here, since it is 0,
- each of its points and flags has the same number here. There may be more of them here.

So a new point, a new flag, or a name for reserved bytes is no new version. Anything else is.
`;
}

function fieldTable(
  block: string,
  members: readonly Member[],
  laid: readonly Field[],
  base: number,
): string {
  const rows = laid.map(({ name, offset, size, signed }) => {
    const member = members.find((one) => one.name === name);
    if (!member) throw new Error(`bpf/event.h: struct ${block} has no ${name} of its own`);
    const type = typeOf(member, size, signed);
    return [`${offset - base}`, `${size}`, type, code(name), meaning(block, member)];
  });
  return table(['offset', 'size', 'type', 'name', 'meaning'], rows);
}

function typeOf({ type }: Member, size: number, signed: boolean): string {
  if (type === 'char') return 'text';
  const bits = Number(/^__[us](\d+)$/.exec(type)?.[1] ?? 0);
  if (bits === 0) throw new Error(`bpf/event.h: what is ${type}?`);
  const count = (size * 8) / bits;
  return `${signed ? 's' : 'u'}${bits}${count > 1 ? `[${count}]` : ''}`;
}

function pointTable(members: readonly Member[]): string {
  const rows = members
    .filter(({ name }) => name !== 'POINT_NONE' && name !== 'POINT_COUNT')
    .map((member) => {
      const number = POINTS_BY_NAME.get(member.name);
      const name = POINT_NAMES.find((one) => POINTS[one] === number);
      if (number === undefined || !name) {
        throw new Error(`src/lifecycle/points.ts has no name for ${member.name}`);
      }
      const probe = PROBE_TABLE.find(({ point }) => point === name);
      const says = probe ? probe.meaning : meaning('point', member);
      return [`${number}`, code(member.name), code(name), says];
    });
  return table(['number', 'constant', 'name', 'meaning'], rows);
}

const POINTS_BY_NAME = new Map(
  POINT_NAMES.map((name) => [name.toUpperCase().replace(/[^A-Z]/g, '_'), POINTS[name]] as const),
);

function numberOf(header: string, { name }: Member): string {
  return new RegExp(`^\\t${name} = (\\d+),`, 'm').exec(header)?.[1] ?? '';
}

function meaning(block: string, { name, comment }: Member): string {
  if (comment === '') throw new Error(`bpf/event.h: ${name} in ${block} has no comment`);
  return comment;
}
