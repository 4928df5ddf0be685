/**
 * Writes wire.gen.ts and docs/wire-format.md from the BTF of a compiled probe object and
 * the comments of its header; with --check, only reports whether the committed files are
 * current (exit code 1 when one is not).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { pointProblems, type WireDescription } from '../../src/events/wire-description.ts';
import { describeWire } from '../../src/kernel/describe-wire.ts';
import { ProbeObject } from '../../src/kernel/probe-object.ts';

const root = new URL('../../', import.meta.url);
const object = ProbeObject.open(new URL('dist/bpf/vfioscope.bpf.o', root).pathname);
const wire = describeWire(object.btf());
object.close();

for (const problem of pointProblems(wire)) throw new Error(`bpf/event.h: ${problem}`);
keep('src/events/wire.gen.ts', render(wire));
// Loaded only now, because it reads what was just written.
const { wireDocument } = await import('./wire-document.ts');
keep('docs/wire-format.md', wireDocument(wire, readFileSync(new URL('bpf/event.h', root), 'utf8')));

function keep(name: string, text: string): void {
  const target = new URL(name, root);
  if (!process.argv.includes('--check')) {
    writeFileSync(target, text);
  } else if (readIfThere(target) !== text) {
    console.error(`${name} does not match bpf/event.h: run \`npm run generate\``);
    process.exitCode = 1;
  }
}

function readIfThere(file: URL): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/**
 * An accessor for a number; texts are read by EventCursor. All go through the one
 * signed array: several views of the same bytes are slower than a shift.
 */
function getter({ name, offset, size, signed }: WireDescription['event'][number]): string {
  const word = (at: number) => `this.words[this.word${at ? ` + ${at}` : ''}]`;
  const at = offset >> 2;
  const narrow = `(${word(at)} >>> ${(offset & 3) * 8}) & ${2 ** (8 * size) - 1}`;
  const read: Record<number, string> = {
    1: narrow,
    2: narrow,
    4: signed ? word(at) : `${word(at)} >>> 0`,
    8: `(${word(at)} >>> 0) + (${word(at + 1)} >>> 0) * ${2 ** 32}`,
  };
  if (!read[size]) return '';
  const camel = name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  return `  get ${camel}(): number {\n    return ${read[size]};\n  }`;
}

/** The constants of an enum without what all their names begin with: SYSFS for COVERED_SYSFS. */
function bare(constants: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(constants).map(([name, value]) => [name.slice(name.indexOf('_') + 1), value]),
  );
}

function render(wire: WireDescription): string {
  const offsets = (fields: WireDescription['event'], base = 0) =>
    fields.map(({ name, offset }) => `  ${name}: ${offset - base},`).join('\n');
  const members = (record: Readonly<Record<string, number>>) =>
    Object.entries(record)
      .map(([name, value]) => `  ${name}: ${value},`)
      .join('\n');
  return `// Generated from bpf/event.h by test/generate/wire.ts. Do not edit.
import type { WireDescription } from './wire-description.ts';

/** Byte offsets in \`struct event\`. */
export const EVENT = {
${offsets(wire.event)}
} as const;

/** Byte offsets in \`struct named_event\`, behind the event. */
export const NAMES = {
${offsets(wire.names)}
} as const;

/** Byte offsets in \`struct cpu_counters\`. */
export const CPU_COUNTERS = {
${offsets(wire.cpuCounters)}
} as const;

export const POINT = {
${members(wire.points)}
} as const;

/** Numbers of points are below it. */
export const POINT_LIMIT = ${wire.pointLimit};

export const FLAG = {
${members(wire.flags)}
} as const;

/** Bits of \`covered\`: the parts of the host that a snapshot could read. */
export const COVERED = {
${members(bare(wire.coverage))}
} as const;

/** Bits of \`device_state\`: what sysfs shows of a device. */
export const DEVICE_STATE = {
${members(bare(wire.deviceStates))}
} as const;

/**
 * The numbers of the record at hand. Offsets are written out, because reading them
 * from an object for each field of each record would double the cost of both.
 */
export class EventFields {
  readonly words: Int32Array;
  protected readonly u8: Uint8Array;
  /** Index of the record's first 32-bit word. */
  word = 0;

  /** @param start bytes into \`buffer\` where position 0 is, a multiple of 8 */
  constructor(buffer: ArrayBuffer, start = 0) {
    this.words = new Int32Array(buffer, start);
    this.u8 = new Uint8Array(buffer, start);
  }

${wire.event.map(getter).filter(Boolean).join('\n\n')}
}

/** What a probe object's BTF must say for this decoder to read its records. */
export const WIRE: WireDescription = ${JSON.stringify(wire, null, 2)};
`;
}
