/** docs/wire-format.md: the wire format for people, out of the header and its BTF. */

import { POINT_NAMES, POINTS } from '../../src/events/points.ts';
import type { Field, WireDescription } from '../../src/events/wire-description.ts';
import { PROBE_TABLE } from '../../src/kernel/probe-table.ts';
import { code, table } from '../../src/markdown.ts';
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
      members(name).map((one) => [
        code(one.name),
        `${numberOf(header, one)}`,
        description(name, one),
      ]),
    );
  return `<!-- Generated from bpf/event.h by test/generate/wire.ts. Do not edit. -->
# Wire format, version ${wire.version}

The records that the probes write into the ring buffer, that a recording keeps, and that a host
snapshot yields. [\`bpf/event.h\`](../bpf/event.h) is the only definition. The compiler writes it into
the object as BTF, and this page is generated from both.

Numbers are little-endian. Sizes and offsets are in bytes. A text ends at its first NUL, or fills its
field. A key names a kernel object for as long as the object exists: equal keys are equal objects, 0 is
none, and nothing else can be derived from a key. Each start of the agent uses other keys, unless it
takes over the pinned probes of another agent.

## A record

A record is a \`struct event\` of ${wire.eventSize} bytes. With \`EVENT_NAMED\` among its flags, a
\`struct event_names\` follows, and both together have ${wire.namedSize} bytes.

### struct event

${fields('event', wire.event)}

### struct event_names

Offsets are from the start of the names; from the start of the record they are ${wire.eventSize} larger.

${fields('event_names', wire.names, wire.eventSize)}

### Flags

${constants('event_flags')}

## Points

\`point\` says what was called or found. A call that blocks has two records: one when it is entered,
and one with \`EVENT_END\` when it returns. A begin may lack its end where the return adds no
information. The table in \`src/kernel/probe-table.ts\` says which kernel function stands for a point;
\`vfioscope doctor\` lists that for the running kernel. Numbers are below ${wire.pointLimit} and are
never used again.

${pointTable(members('point'))}

## Host snapshots

Records with \`EVENT_SNAPSHOT\` are not events: they describe what a host snapshot found. All records
of one snapshot are between a begin and an end of \`SNAPSHOT_RUN\`. Each has the time at which its
object was read. It is in no CPU's sequence: its \`seq\` and \`cpu\` are meaningless. An object that
was found in sysfs has a name and no key; one that was found as a file has both. \`pid\`, \`tid\` and
\`comm\` are those of the process that holds the file, otherwise those of the agent.

\`covered\` at the end of \`SNAPSHOT_RUN\`: only what is missing in a part that could be read is known
to be gone.

${constants('snapshot_coverage')}

\`device_state\` of \`SNAPSHOT_DEVICE\`:

${constants('device_state')}

## In the ring

The ring buffer is the kernel's (\`BPF_MAP_TYPE_RINGBUF\`): a page with the position of the reader, a
page with the position of the writers, then the data, which are mapped twice in a row so that every
record is contiguous. Each record has a header of 8 bytes in front and is padded to 8 bytes.

${table(
  ['bytes', 'meaning'],
  [
    ['0 – 3', 'length of the record. Bit 31: it is still being written. Bit 30: skip it'],
    ['4 – 7', 'used by the kernel'],
  ],
)}

A recording contains the same records without that header: see [recordings.md](recordings.md).

## Losses

The map \`cpu_counters\`, which the agent maps, has for each CPU:

${fields('cpu_counters', wire.cpuCounters)}

\`seq\` is the CPU's \`attempts\` when the record was written, modulo 2^32. So a gap between two records
of one \`cpu\` is the number of records that found the ring full, and the number that is missing after
the last record is the difference to \`attempts\`. What a CPU lost by \`calls_full\` and
\`unreadable\`, and the runs of a program that the kernel skipped, leave no gap; the agent reads those
counters once a second.

## Which versions fit

Probes and agent come from one build: an object whose BTF differs from this description in anything is
refused.

A recording has the description of its own format in its header. An agent reads it if

- the version is the same,
- each of its fields is the same here: name, offset, size, signedness; but a field that was reserved
  there may have a name here, since it is 0,
- each of its points, flags and bits has the same number here. There may be more of them here.

So a new point, a new flag, or a name for reserved bytes needs no new version. Any other change does.
Recordings of version 3 are translated when they are read: see [recordings.md](recordings.md).
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
    return [`${offset - base}`, `${size}`, type, code(name), description(block, member)];
  });
  return table(['offset', 'size', 'type', 'name', 'meaning'], rows);
}

function typeOf({ type }: Member, size: number, signed: boolean): string {
  if (type === 'char') return 'text';
  const bits = Number(/^__[us](\d+)$/.exec(type)?.[1] ?? 0);
  if (bits === 0) throw new Error(`bpf/event.h: the generator does not know the type ${type}`);
  const count = (size * 8) / bits;
  return `${signed ? 's' : 'u'}${bits}${count > 1 ? `[${count}]` : ''}`;
}

function pointTable(members: readonly Member[]): string {
  const rows = members
    .filter(({ name }) => name !== 'POINT_NONE')
    .map((member) => {
      const number = POINTS_BY_NAME.get(member.name);
      const name = POINT_NAMES.find((one) => POINTS[one] === number);
      if (number === undefined || !name) {
        throw new Error(`src/events/points.ts has no name for ${member.name}`);
      }
      const probe = PROBE_TABLE.find(({ point }) => point === name);
      const message = probe ? probe.description : description('point', member);
      return [`${number}`, code(member.name), code(name), message];
    });
  return table(['number', 'constant', 'name', 'meaning'], rows);
}

const POINTS_BY_NAME = new Map(
  POINT_NAMES.map((name) => [name.toUpperCase().replace(/[^A-Z]/g, '_'), POINTS[name]] as const),
);

function numberOf(header: string, { name }: Member): string {
  return new RegExp(`^\\t${name} = (\\d+),`, 'm').exec(header)?.[1] ?? '';
}

function description(block: string, { name, comment }: Member): string {
  if (comment === '') throw new Error(`bpf/event.h: ${name} in ${block} has no comment`);
  return comment;
}
